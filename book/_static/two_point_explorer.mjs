// The two-point diffusion of chapter 8 in the page: drag a noisy value through the plane.

import * as ui from "./explorer.mjs";
import { gaussians } from "./random.mjs";
import * as two from "./two_point.mjs";
import * as view from "./two_point_view.mjs";

const { html } = ui;
const { EDGE, schedule } = view;
const PATHS = 12;
const MANY = 1000;
const ARROWS = {
  ArrowUp: [0, 0.05], ArrowDown: [0, -0.05], ArrowLeft: [-10, 0], ArrowRight: [10, 0],
};
const VARIANCES = { smaller: two.posteriorVariance, larger: two.stepVariance };

const clip = (x) => Math.max(-EDGE, Math.min(EDGE, x));

/** The noise of one path: a number for each timestep, the same wherever the path begins.
 *
 * So the paths bend, and do not jump, when the point is dragged.
 */
function noiseOfPath(seed) {
  const gauss = gaussians(seed);
  const numbers = Float64Array.from({ length: schedule.T + 1 }, gauss);
  return (t) => numbers[t];
}

/** The paths from the point of the state with the noises of this seed. */
function pathsOf({ x, t, p, stride, variance }, noises) {
  const times = two.timesFrom(t, stride);
  const walks = noises.map((noise) =>
    two.ancestral(x, times, schedule, noise, p, VARIANCES[variance]));
  return {
    walks,
    upper: walks.filter((walk) => walk.at(-1)[1] > 0).length,
    ddim: two.ddim(x, times, schedule, p),
  };
}

/** The share of many paths that end at +1, next to the probability that they should. */
function tally({ x, t, p, stride, variance }, seed) {
  const [times, gauss] = [two.timesFrom(t, stride), gaussians(seed)];
  const ends = Array.from({ length: MANY }, () =>
    two.ancestral(x, times, schedule, gauss, p, VARIANCES[variance]).at(-1)[1]);
  const share = ends.filter((end) => end > 0).length / MANY;
  const exact = two.plus(x, t, schedule, p);
  const chance = Math.sqrt((exact * (1 - exact)) / MANY);
  return `${view.percent(share)} of ${MANY} paths end at +1. The exact probability is ` +
    `${view.percent(exact)}, and chance alone moves the share by about ${view.percent(chance)}.`;
}

/** Pointer and arrow keys on the plane; `moved` gets {x, t}. */
function steer(host, state, point, moved) {
  const drag = (event) => moved(point(event));
  host.addEventListener("pointerdown", (event) => {
    host.setPointerCapture(event.pointerId);
    drag(event);
  });
  host.addEventListener("pointermove", (event) =>
    host.hasPointerCapture(event.pointerId) && drag(event));
  host.addEventListener("keydown", (event) => {
    if (!(event.key in ARROWS)) return;
    event.preventDefault();
    const [dt, dx] = ARROWS[event.key];
    moved({ t: state.t + dt, x: state.x + dx });
  });
}

function makeControls(change) {
  return {
    t: ui.slider({
      name: "time", label: [html("i", {}, "t"), ", the time"],
      min: 1, max: schedule.T, value: 1, change: (t) => change({ t }),
    }),
    x: ui.slider({
      name: "noisy value", label: [ui.symbol("x", "t"), ", the noisy value"],
      min: -EDGE, max: EDGE, step: 0.01, value: 0,
      show: (v) => view.signed(v, 2), change: (x) => change({ x }),
    }),
    p: ui.slider({
      name: "share of +1", label: "Share of +1 in the data",
      min: 0.05, max: 0.95, step: 0.05, value: 0.5,
      show: (v) => v.toFixed(2), change: (p) => change({ p }),
    }),
    stride: ui.choice({
      name: "Steps", options: [[1, "every step"], [10, "every 10th step"]],
      change: (stride) => change({ stride: Number(stride) }),
    }),
    variance: ui.choice({
      name: "Variance of a step",
      options: [["smaller", "β̃, the smaller"], ["larger", "β, the larger"]],
      change: (variance) => change({ variance }),
    }),
  };
}

const makeParts = () => ({
  plane: html("div", { "data-plane": true, tabindex: 0, role: "application",
    "aria-label": "Plane: arrow keys move the point in time and value" }),
  answers: html("div"),
  curve: html("div"),
  facts: html("dl"),
  summary: html("p", { "aria-live": "polite", class: "summary" }),
  tally: html("p", { "aria-live": "polite", class: "tally" }),
});

function build(host) {
  const state = { x: 0.5, t: 400, p: 0.5, stride: 1, variance: "smaller" };
  let [seed, noises, mask, point] = [0, [], view.densityMask(state.p), null];

  function change(news, fresh = false) {
    if ("p" in news) mask = view.densityMask(news.p);
    Object.assign(state, news);
    state.t = Math.max(1, Math.min(schedule.T, state.t));
    state.x = Math.round(100 * clip(state.x)) / 100;
    controls.t.set({ value: state.t });
    controls.x.set({ value: state.x });
    controls.p.set({ value: state.p });
    parts.tally.textContent = "";
    draw(fresh);
  }
  function draw(fresh = false) {
    if (!ui.hasRoom(host)) return;
    const paths = pathsOf(state, noises);
    const width = (part) => ui.widthOf(parts[part]);
    const [wide, left, right] = ["plane", "answers", "curve"].map(width);
    const picture = view.plane(wide, state, paths, mask, fresh);
    point = picture.inverse;
    parts.plane.replaceChildren(picture.node);
    parts.answers.replaceChildren(view.answers(left, state));
    parts.curve.replaceChildren(view.curve(right, state));
    parts.facts.replaceChildren(...view.factList(state, paths));
    parts.summary.textContent = view.summary(state);
  }
  function newNoise() {
    seed += 1;
    noises = Array.from({ length: PATHS }, (_, i) => noiseOfPath(1000 * seed + i));
    change({}, seed > 1);
  }

  const controls = makeControls(change);
  const parts = makeParts();
  const titled = (text, node) => html("div", {}, ui.title(text), node);
  const send = () => (parts.tally.textContent = tally(state, ++seed));
  host.replaceChildren(
    ui.title("Drag the point, or move it with the arrow keys"),
    parts.plane,
    ui.key(["Shade", "how likely a value is at each time"],
      ["Thin lines", `${PATHS} ancestral paths from the point`], ["Thick line", "DDIM"],
      ["Dashes", "a jump to the mean, which ends at the diamond"], ["Rings", "the data"]),
    html("div", { class: "controls" }, Object.values(controls).map((each) => each.node)),
    html("div", { class: "buttons" },
      ui.button("New noise", newNoise), ui.button(`Send ${MANY} paths`, send)),
    parts.tally,
    parts.summary,
    html("div", { class: "panels" },
      titled("Two possible answers, and one number", parts.answers),
      titled("The one number for every noisy value", parts.curve)),
    parts.facts);
  steer(parts.plane, state, (event) => point(event), change);
  newNoise();
  return () => draw();
}

ui.start("two-point", build);
