// What the explorer of the two-point diffusion says and draws.

import * as ui from "./explorer.mjs";
import * as two from "./two_point.mjs";

const { svg } = ui;
export const schedule = two.linear();
export const EDGE = 3; // the plane shows x_t from -3 to 3

/** A number with its sign, but 0 without. */
export const signed = (v, digits = 3) =>
  `${v < 0 ? "−" : "+"}${Math.abs(v).toFixed(digits)}`.replace(/^[−+](0\.?0*)$/, "$1");

export function percent(p) {
  if (p < 1 && p > 0.9995) return "> 99.9 %";
  if (p > 0 && p < 0.0005) return "< 0.1 %";
  return `${(100 * p).toFixed(1)} %`;
}

/** q(x_t) as a picture of transparent to opaque, each t scaled to its own maximum. */
export function densityMask(p, columns = 250, rows = 150) {
  const canvas = ui.html("canvas", { width: columns, height: rows });
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(columns, rows);
  for (let i = 0; i < columns; i++) {
    const t = Math.round((i / (columns - 1)) * schedule.T);
    // Near t = 0 the two peaks are narrower than a pixel: average over the pixel.
    const column = Array.from({ length: rows }, (_, j) =>
      two.density(EDGE - (2 * EDGE * (j + 0.5)) / rows, t, schedule, p, EDGE / rows));
    const highest = Math.max(...column);
    column.forEach((q, j) =>
      pixels.data.set([255, 255, 255, 255 * (q / highest)], 4 * (j * columns + i)));
  }
  context.putImageData(pixels, 0, 0);
  return canvas.toDataURL();
}

/** At most about 300 points of a path, with both ends: more than the eye can tell apart. */
function thinned(points) {
  const stride = Math.ceil(points.length / 300);
  return points.filter((_, i) => i % stride === 0 || i === points.length - 1);
}

/** The plane: time to the right, x_t upwards, and all paths from the chosen point. */
export function plane(width, state, paths, mask, fresh) {
  const { x: value, t, p } = state;
  const height = Math.max(260, Math.min(360, width * 0.5));
  const box = { left: 36, right: width - 12, top: 26, bottom: height - 42 };
  const x = ui.scale(0, schedule.T, box.left, box.right);
  const y = ui.scale(-EDGE, EDGE, box.bottom, box.top);
  const size = {
    x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top,
  };
  const pixels = (points) => thinned(points).map(([s, v]) => [x(s), y(v)]);
  const jump = two.posteriorMean(value, t, schedule, p);
  const label = `The plane of time and noisy value. The point is at t = ${t}, x = ` +
    `${value.toFixed(2)}. ${paths.upper} of ${paths.walks.length} paths end at +1, ` +
    `the others at −1; ` +
    `the mean ${signed(jump)} is no data point.`;
  const clipped = svg("g", { "clip-path": "url(#explorer-plane)" },
    paths.walks.map((walk) => ui.path(pixels(walk), fresh ? "walk drawn" : "walk",
      { pathLength: 1, "data-end": walk.at(-1)[1] })),
    ui.path(pixels([[t, value], [0, jump]]), "means"),
    ui.path(pixels(paths.ddim), "ddim", { "data-end": paths.ddim.at(-1)[1] }));
  const node = ui.picture(width, height, label,
    svg("mask", { id: "explorer-density" },
      svg("image", { ...size, href: mask, preserveAspectRatio: "none" })),
    svg("clipPath", { id: "explorer-plane" }, svg("rect", size)),
    svg("rect", { ...size, class: "density", mask: "url(#explorer-density)" }),
    clipped,
    ...ui.axes(box, x, y, [0, 250, 500, 750, 1000], ui.ticks(-EDGE, EDGE, 6),
      "time t (noise grows)", "x at time t"),
    ...[-1, 1].map((v) => svg("circle", { cx: x(0), cy: y(v), r: 6, class: "start" })),
    svg("path", { d: `M${x(0)},${y(jump)}m-6,0l6,-6l6,6l-6,6z`, class: "mean" }),
    svg("circle", { cx: x(t), cy: y(value), r: 8, class: "now" }));
  const inverse = (event) => {
    const frame = node.getBoundingClientRect();
    const share = (event.clientX - frame.left - box.left) / (box.right - box.left);
    const up = (event.clientY - frame.top - box.bottom) / (box.top - box.bottom);
    return { t: Math.round(1000 * share), x: up * 2 * EDGE - EDGE };
  };
  return { node, inverse };
}

/** The two possible answers, and the one number where they balance. */
export function answers(width, { x, t, p }) {
  const up = two.plus(x, t, schedule, p);
  const mean = two.posteriorMean(x, t, schedule, p);
  const box = { left: 8, right: width - 8, top: 24, bottom: 128 };
  const across = ui.scale(-1.4, 1.4, box.left, box.right);
  const y = ui.scale(0, 1, box.bottom, box.top);
  const bar = (at, share) => [
    svg("rect", { x: across(at) - 16, y: y(share), width: 32, class: "bar",
      height: box.bottom - y(share) }),
    ui.words(across(at), y(share) - 6, percent(share)),
    ui.words(across(at), box.bottom + 16, at > 0 ? "+1" : "−1"),
  ];
  const label = `+1 with probability ${percent(up)}, −1 with ${percent(1 - up)}; ` +
    `the mean is ${signed(mean)}`;
  return ui.picture(width, 172, label,
    ...bar(-1, 1 - up), ...bar(1, up),
    ui.line(box.left, box.bottom, box.right, box.bottom, "axis"),
    ui.fulcrum(across(mean), box.bottom + 1),
    ui.words(across(mean), box.bottom + 34, `mean ${signed(mean)}`));
}

/** E[x_0 | x_t] against x_t at this t. */
export function curve(width, { x: value, t, p }) {
  const box = { left: 36, right: width - 12, top: 24, bottom: 132 };
  const x = ui.scale(-EDGE, EDGE, box.left, box.right);
  const y = ui.scale(-1, 1, box.bottom, box.top);
  const mean = (v) => two.posteriorMean(v, t, schedule, p);
  const points = Array.from({ length: 241 }, (_, i) => -EDGE + (2 * EDGE * i) / 240);
  return ui.picture(width, 172, `The mean of the data for every noisy value at t = ${t}`,
    ...ui.axes(box, x, y, [-2, 0, 2], [-1, 0, 1], "x at time t", "mean of the data"),
    ui.path(points.map((v) => [x(v), y(mean(v))]), "means"),
    ui.line(x(value), box.bottom, x(value), y(mean(value)), "before"),
    svg("circle", { cx: x(value), cy: y(mean(value)), r: 5, class: "now" }));
}

const ending = (x) =>
  Math.abs(x) > 0.999
    ? `${x > 0 ? "+" : "−"}1`
    : `${signed(x)}: exactly between, it cannot decide`;

export function factList({ x, t, p }, paths) {
  const number = paths.walks.length;
  const mean = two.posteriorMean(x, t, schedule, p);
  return ui.facts([
    ["One answer, the mean",
      `${signed(mean)}, ${(1 - Math.abs(mean)).toFixed(3)} from the nearer data point`],
    ["Its mean squared error", (1 - mean ** 2).toFixed(3)],
    ["Score at the point", signed(two.score(x, t, schedule, p))],
    ["Signal to noise ratio", `${+schedule.snr[t].toPrecision(3)}`],
    ["DDIM ends at", ending(paths.ddim.at(-1)[1])],
    [`${number} ancestral paths`, `${paths.upper} end at +1, ${number - paths.upper} at −1`],
  ]);
}

export function summary({ x, t, p }) {
  const up = two.plus(x, t, schedule, p);
  return `At t = ${t} the value ${signed(x, 2)} came from +1 with probability ${percent(up)}, ` +
    `from −1 with ${percent(1 - up)}. ` +
    `The mean is ${signed(two.posteriorMean(x, t, schedule, p))}.`;
}
