// The sensitivity field of chapter 11 in the page: choose a pixel, move the noise.

import * as ui from "./explorer.mjs";
import * as filter from "./field.mjs";
import * as view from "./field_view.mjs";

const { html } = ui;
const SETS = { // file -> its name and the pixel to begin with
  dead_leaves: ["Dead leaves", [16, 16]],
  toy_faces: ["Toy faces", [14, 11]],
  digits: ["Digits, 8 × 8", [4, 4]],
  mnist: ["MNIST", [14, 14]],
  fashion_mnist: ["Fashion-MNIST", [14, 14]],
  cifar10: ["CIFAR-10", [16, 16]],
  celeba32: ["CelebA", [13, 12]],
  afhq_cat32: ["AFHQ cats", [16, 11]],
};
const OUTPUTS = [...view.CHANNELS.map((name) => [name, name]),
  ["mean", "mean of the three"]];
const INPUTS = [["each", "each channel by itself"], ["sum", "all three together"]];
const ARROWS = {
  ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
};
const REACHES = [
  [1, "the largest value"], [4, "a quarter of it"], [20, "a twentieth of it"]];
const EXAMPLES = { // log: of sigma, to the base 10
  "Leaves, little noise": { set: "dead_leaves", log: -0.6 },
  "Leaves, much noise": { set: "dead_leaves", log: 0.7 },
  "An eye of a toy face": { set: "toy_faces", log: -0.3 },
  "Photographs": { set: "cifar10", log: 0.5, output: "green", inputs: "each" },
  "An eye of a face": { set: "celeba32", log: 0.6, output: "mean", inputs: "sum" },
};

const clip = (x, size) => Math.max(0, Math.min(size - 1, x));

/** Pointer and arrow keys on a picture; `moved` gets [row, column]. */
function steer({ place }, { pixel, shape }, moved) {
  function point(event) {
    if (!shape()) return;
    const box = place.getBoundingClientRect();
    const { H, W } = shape();
    const [down, right] = [(event.clientY - box.top) / box.height,
      (event.clientX - box.left) / box.width];
    moved([Math.floor(down * H), Math.floor(right * W)]);
  }
  place.addEventListener("pointerdown", (event) => {
    place.setPointerCapture(event.pointerId);
    point(event);
  });
  place.addEventListener("pointermove", (event) =>
    place.hasPointerCapture(event.pointerId) && point(event));
  place.addEventListener("keydown", (event) => {
    if (!(event.key in ARROWS)) return;
    event.preventDefault();
    moved(pixel().map((x, i) => x + ARROWS[event.key][i]));
  });
}

/** "0.501, t = 145": sigma and the nearest timestep of DDPM's linear schedule. */
const noiseText = (log) =>
  `${view.decimal(10 ** log)}, t = ${filter.timestep(10 ** log)}`;

function makeControls(change) {
  return {
    set: ui.choice({ name: "Data set",
      options: Object.entries(SETS).map(([file, [name]]) => [file, name]),
      change: (set) => change({ set }) }),
    log: ui.slider({ name: "noise", label: [html("i", {}, "σ"), ", the noise:"],
      min: -2, max: 2, step: 0.01, value: 0, show: noiseText,
      change: (log) => change({ log }) }),
    reach: ui.choice({ name: "Colours end at", options: REACHES,
      change: (reach) => change({ reach: Number(reach) }) }),
    output: ui.choice({ name: "Output channel", options: OUTPUTS,
      change: (output) => change({ output }) }),
    inputs: ui.choice({ name: "Input channels", options: INPUTS,
      change: (inputs) => change({ inputs }) }),
  };
}

function makeParts() {
  const mean = view.raster({ tabindex: 0, role: "application",
    "aria-label": "Mean image: arrow keys move the output pixel" });
  const fields = view.CHANNELS.map(() => view.raster());
  const bar = view.colourBar();
  const pictures = [mean, ...fields].map((each) => each.node);
  const [convention, facts] = [html("p", { class: "key" }), html("dl", { "data-long": true })];
  return {
    mean, fields, bar, convention, facts,
    summary: html("p", { "aria-live": "polite", class: "summary" }),
    results: html("div", { class: "results" },
      html("div", { class: "pictures" }, pictures), bar.node,
      ui.key(["Frame", "the output pixel"], ["Dashed frame", "its mirror image"],
        ["Red", "the output rises with this input"], ["Blue", "it falls"]),
      convention, facts),
  };
}

/** The fields to show: [title, numbers], one for each picture. */
function fieldsOf({ C, H, W }, { inputs }, field) {
  if (C === 1) return [["Field", field]];
  if (inputs === "sum") return [["Field, all inputs", field]];
  return view.CHANNELS.map((name, c) =>
    [`Field, ${name} input`, field.subarray(c * H * W, (c + 1) * H * W)]);
}

function build(host) {
  const state = { set: "", log: -0.3, output: "green", inputs: "each", reach: 1 };
  let moments = null;

  /** A new question; another set is fetched first. */
  async function change(news) {
    const fresh = "set" in news && !(moments && news.set === state.set);
    Object.assign(state, news);
    if (fresh && !(await fetchSet())) return;
    if (!moments) return;
    const [row, column] = state.pixel;
    state.pixel = [clip(row, moments.H), clip(column, moments.W)];
    draw();
  }
  /** Whether the set of the state is here: it may fail, or another be chosen meanwhile. */
  async function fetchSet() {
    const { set } = state;
    [state.name, state.pixel] = SETS[set];
    moments = null;
    controls.set.set(set);
    parts.summary.textContent = `Fetching the moments of ${state.name} ...`;
    const found = await filter.load(set).catch((error) => error);
    if (set !== state.set) return false;
    moments = found instanceof Error ? null : found;
    parts.results.hidden = !moments;
    if (!moments)
      parts.summary.textContent = `The moments of ${state.name} could not be fetched: ` +
        `${found.message}. Choose another set, or this one again later.`;
    return Boolean(moments);
  }
  function draw() {
    if (!moments || !ui.hasRoom(host)) return;
    const { pixel, log, inputs, reach } = state;
    const channel = moments.C === 1 ? 0 : view.CHANNELS.indexOf(state.output);
    const row = filter.output(moments, pixel, channel < 0 ? "mean" : channel);
    const full = filter.field(moments, row, 10 ** log);
    const field = inputs === "sum" ? filter.together(full, moments) : full;
    const shown = fieldsOf(moments, state, field);
    const top = field.reduce((most, v) => Math.max(most, Math.abs(v)), 0) / reach;
    view.showMean(parts.mean, moments, pixel);
    parts.fields.forEach((picture, i) => {
      picture.node.hidden = i >= shown.length;
      if (shown[i]) view.showField(picture, moments, pixel, ...shown[i], top);
    });
    const values = shown.map(([, numbers]) => numbers);
    say(view.measure(moments, state, row, field, values), top);
  }
  function say(found, top) {
    parts.bar.say(top);
    parts.convention.textContent = view.convention(moments, state);
    parts.facts.replaceChildren(...view.factList(moments, state, found));
    parts.summary.textContent = view.summary(moments, state, found);
    controls.log.set({ value: state.log });
    for (const name of ["output", "inputs"]) {
      controls[name].set(state[name]);
      controls[name].node.hidden = moments.C === 1;
    }
  }

  const controls = makeControls(change);
  const parts = makeParts();
  const examples = Object.entries(EXAMPLES).map(([name, news]) =>
    ui.button(name, () => change({ ...news, pixel: SETS[news.set][1] })));
  host.replaceChildren(
    html("div", { class: "buttons", role: "group", "aria-label": "Examples" }, examples),
    html("div", { class: "controls" }, Object.values(controls).map((each) => each.node)),
    ui.title("Choose the output pixel: click, or use the arrow keys"),
    parts.results, parts.summary);
  const here = { pixel: () => state.pixel, shape: () => moments };
  for (const picture of [parts.mean, ...parts.fields])
    steer(picture, here, (pixel) => change({ pixel }));
  change({ set: "toy_faces" });
  return () => draw();
}

ui.start("field", build);
