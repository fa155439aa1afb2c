// What the explorer of the field says and draws: pictures of pixels, numbers, words.

import * as ui from "./explorer.mjs";
import * as filter from "./field.mjs";

const { html } = ui;
export const CHANNELS = ["red", "green", "blue"];
export const WINDOW = 5; // pixels, about the output pixel
export const MIRROR = 3; // pixels, about its mirror image
const ROUGH = 0.5; // of the length of the field: an error that would be seen

// ColorBrewer's RdBu, as in the figures of the book: red is positive, white is 0.
const STOPS = ["053061", "2166ac", "4393c3", "92c5de", "d1e5f0", "f7f7f7", "fddbc7",
  "f4a582", "d6604d", "b2182b", "67001f"].map((hex) =>
  [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)));

/** The colour of a value in [-1, 1]. */
export function diverging(value) {
  const at = ((Math.max(-1, Math.min(1, value)) + 1) / 2) * (STOPS.length - 1);
  const k = Math.min(Math.floor(at), STOPS.length - 2);
  return STOPS[k].map((low, c) => low + (at - k) * (STOPS[k + 1][c] - low));
}

/** Fill a canvas of H x W pixels with the colours [red, green, blue] of each. */
function paint(canvas, { H, W }, colour) {
  if (canvas.width !== W) canvas.width = W;
  if (canvas.height !== H) canvas.height = H;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(W, H);
  for (let i = 0; i < H * W; i++) pixels.data.set([...colour(i), 255], 4 * i);
  context.putImageData(pixels, 0, 0);
}

/** A frame about the k x k pixels at [row, column], cut at the border. */
function frame(kind, { H, W }, [row, column], k = 1) {
  const [top, left] = [row, column].map((x) => Math.max(x - (k - 1) / 2, 0));
  const [bottom, right] = [[row, H], [column, W]].map(([x, end]) =>
    Math.min(x + (k + 1) / 2, end));
  const part = (x, whole) => `${(100 * x) / whole}%`;
  return html("span", { class: kind, style: `top: ${part(top, H)}; left: ${part(left, W)};
    height: ${part(bottom - top, H)}; width: ${part(right - left, W)}` });
}

/** A place for a picture under a title; `attributes` go to the place. */
export function raster(attributes = {}) {
  const [name, canvas, frames] = [ui.title(""), html("canvas", { role: "img" }),
    html("div")];
  const place = html("div", { class: "raster", ...attributes }, canvas, frames);
  return { node: html("div", {}, name, place), place, name, canvas, frames };
}

function show({ name, canvas, frames }, shape, title, label, colour, marks) {
  name.textContent = title;
  canvas.setAttribute("aria-label", label);
  paint(canvas, shape, colour);
  frames.replaceChildren(...marks);
}

/** The mean image, numbers in [-1, 1], with the output pixel marked. */
export function showMean(picture, moments, pixel) {
  const { mu, C, H, W } = moments;
  const level = (i, c) => 127.5 * (mu[(C === 3 ? c : 0) * H * W + i] + 1);
  show(picture, moments, "Mean image", "The mean image of the set",
    (i) => [level(i, 0), level(i, 1), level(i, 2)], [frame("pixel", moments, pixel)]);
}

/** A field on a scale that ends at -top and +top, with the pixel and its mirror image. */
export function showField(picture, moments, pixel, title, values, top) {
  const label = `${title}, from ${decimal(Math.min(...values))} to ` +
    decimal(Math.max(...values));
  const mirrored = [pixel[0], moments.W - 1 - pixel[1]];
  const marks = [frame("pixel", moments, pixel)];
  if (!overlap(moments, pixel)) marks.unshift(frame("mirror", moments, mirrored, MIRROR));
  show(picture, moments, title, label, (i) => diverging(values[i] / (top || 1)), marks);
}

/** Whether the windows about a pixel and about its mirror image have pixels in common. */
const overlap = ({ W }, [, column]) => Math.abs(W - 1 - 2 * column) < MIRROR;

/** The scale of the colours, from -top to top. */
export function colourBar() {
  const stops = STOPS.map((colour) => `rgb(${colour})`);
  const numbers = html("div", { class: "numbers" });
  const strip = html("div", { class: "strip",
    style: `background: linear-gradient(to right, ${stops})` });
  const say = (top) => numbers.replaceChildren(
    ...[-top, 0, top].map((value) => html("span", {}, decimal(value))));
  return { node: html("div", { class: "scale" }, strip, numbers), say };
}

/** Three digits, with a power of ten where there would be many zeros. */
export function decimal(value) {
  const size = Math.abs(value);
  const sign = value < 0 ? "−" : "";
  if (size === 0 || !Number.isFinite(size)) return String(size);
  if (size >= 1e-3) return sign + size.toPrecision(3);
  const [factor, power] = size.toExponential(1).split("e-");
  const raised = [...power].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("");
  return `${sign}${factor} × 10⁻${raised}`;
}

const square = (k) => `${k}\u00a0×\u00a0${k}`;
export const percent = (share) =>
  share > 0 && share < 5e-4 ? "< 0.1\u00a0%" : `${(100 * share).toFixed(1)}\u00a0%`;

const places = ([row, column]) => `row ${row}, column ${column}`;
const outputName = (output) =>
  output === "mean" ? "the mean of red, green and blue" : output;

/** What the pictures and the numbers are about, in full. */
export function convention({ C }, { output, inputs, pixel }) {
  const where = `the pixel at ${places(pixel)}, counted from 0`;
  if (C === 1)
    return `The output is ${where}. The field is its row of the filter: by how much the ` +
      "output rises when one noisy pixel rises by 1.";
  const each = inputs === "each"
    ? "One field for each input channel, all on one scale; energies are sums over the three."
    : "The field is the sum over the three input channels: all three rise together.";
  return `The output is ${outputName(output)} at ${where}. ${each}`;
}

/** The field at its own pixel: one number, or one for each input channel. */
function ownValue({ H, W }, [row, column], values) {
  const own = values.map((v) => decimal(v[row * W + column]));
  return own.length === 1 ? own[0] : own.map((v, c) => `${CHANNELS[c]} ${v}`).join(", ");
}

/** In the middle only what the pixel's own window leaves of the other one counts. */
const mirrorText = (share, moments, pixel) =>
  percent(share) + (overlap(moments, pixel) ? ", without the pixel's own window" : "");

/** Everything that is measured on a field; `values` are its channels. */
export function measure(moments, { pixel, log, inputs }, row, field, values) {
  const across = inputs === "each" ? 1 : Math.sqrt(moments.C);
  return {
    values,
    length: Math.sqrt(field.reduce((sum, v) => sum + v * v, 0)),
    radius: filter.effectiveRadius(field, moments, pixel),
    within: filter.energyWithin(field, moments, pixel, WINDOW),
    mirror: filter.mirrorEnergy(field, moments, pixel, MIRROR),
    bound: across * filter.bound(moments, row, 10 ** log),
  };
}

/** How sure the field is; its length is the square root of its energy. */
function boundText({ bound, length }, { r, n }) {
  const kept = r < n ? `${r} of ${n} eigenvectors` : `all ${n} eigenvectors`;
  return `at most ${decimal(bound)}; the whole field has length ${decimal(length)} (${kept})`;
}

const isZero = (found) => !(found.length > 1e-12);

export function factList(moments, { pixel }, found) {
  const shares = isZero(found) ? [] : [
    ["Effective radius", `${found.radius.toFixed(2)} pixels`],
    [`Energy within ${square(WINDOW)}`, percent(found.within)],
    [`Energy near the mirror image, ${square(MIRROR)}`,
      mirrorText(found.mirror, moments, pixel)],
  ];
  return ui.facts([
    ["Value at the pixel itself", ownValue(moments, pixel, found.values)],
    ...shares,
    ["Error of the field", boundText(found, moments)],
  ]);
}

export function summary({ C }, { name, output, pixel, log }, found) {
  const colour = C === 1 ? "" : `, ${outputName(output)}`;
  const where = `${name}, ${places(pixel)}${colour}, σ = ${decimal(10 ** log)}: `;
  if (isZero(found))
    return `${where}the field is 0. A pixel that never changes needs no input.`;
  const rough = found.bound > ROUGH * found.length ? " At this noise the eigenvectors " +
    "that are not in the file can matter: the picture may be rough." : "";
  return `${where}the effective radius is ${found.radius.toFixed(2)} pixels, and ` +
    `${percent(found.within)} of the energy lies within ${square(WINDOW)}.${rough}`;
}
