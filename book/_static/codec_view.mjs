// What the explorer of the codec draws and says: grey pictures, the curve, numbers.

import * as ui from "./explorer.mjs";

const { html, svg } = ui;

/** Bits of a frame for each pixel of the image. */
export const rate = ({ side }, { bits }) => bits / side ** 2;

/** A square picture of grey levels 0 to 255 under a title. */
export function picture() {
  const [name, canvas] = [ui.title(""), html("canvas", { role: "img" })];
  const place = html("div", { class: "raster", style: "cursor: auto" }, canvas);
  return { node: html("div", {}, name, place), name, canvas };
}

export function show({ name, canvas }, side, title, levels) {
  name.textContent = title;
  canvas.setAttribute("aria-label", `${title}, ${side} by ${side} grey pixels`);
  if (canvas.width !== side) canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(side, side);
  levels.forEach((v, i) => pixels.data.set([v, v, v, 255], 4 * i));
  context.putImageData(pixels, 0, 0);
}

/** Distortion against rate: a dot for each word that has arrived, rings for the others. */
export function curve(width, data, frames, count) {
  const height = Math.max(230, Math.min(300, width * 0.5));
  const box = { left: 40, right: width - 14, top: 30, bottom: height - 44 };
  const top = Math.max(...frames.map((frame) => frame.rmse));
  const x = ui.scale(0, rate(data, frames.at(-1)) * 1.03, box.left, box.right);
  const y = ui.scale(0, top * 1.05, box.bottom, box.top);
  const points = frames.map((frame) => [x(rate(data, frame)), y(frame.rmse)]);
  const label = `Error against bits per pixel: ${count} of ${frames.length - 1} words, ` +
    `the error is ${frames[count].rmse.toFixed(1)} grey levels`;
  const circle = ([cx, cy], kind, r) => svg("circle", { cx, cy, r, class: kind });
  return ui.picture(width, height, label,
    ...ui.axes(box, x, y, ui.ticks(0, rate(data, frames.at(-1)), 5), ui.ticks(0, top, 4),
      "bits per pixel", "error (grey levels of 255)"),
    ui.path(points, "axis"),
    ...points.slice(count + 1).map((point) => circle(point, "start", 3.5)),
    ui.path(points.slice(0, count + 1), "ddim"),
    ...points.slice(0, count).map((point) => circle(point, "dot", 4)),
    circle(points[count], "now", 6));
}

/** What has arrived: "7 of 12 words", "the image itself". */
export function arrived(data, count) {
  if (count === 0) return "nothing yet";
  if (count > data.T) return "all words, the image itself";
  return `${count} of ${data.T} words, and not the last one`;
}

export function factList(data, frames, count) {
  const [frame, before] = [frames[count], frames[Math.max(0, count - 1)]];
  const whole = frames.at(-1).bits;
  return ui.facts([
    ["Arrived", arrived(data, count)],
    ["Bits so far", `${frame.bits.toFixed(0)} of ${whole.toFixed(0)}, ` +
      `${rate(data, frame).toFixed(2)} per pixel`],
    ["Bits of this word", count ? (frame.bits - before.bits).toFixed(1) : "–"],
    ["Error of the guess", `${frame.rmse.toFixed(1)} grey levels of 255`],
    ["Header, not counted", `${data.head} bits`],
  ]);
}

export function summary(data, frames, count) {
  const { bits, rmse } = frames[count];
  if (count === 0)
    return `Nothing has arrived. The receiver guesses the mean of all digits, which is ` +
      `${rmse.toFixed(0)} grey levels off.`;
  if (count > data.T)
    return `After ${bits.toFixed(0)} bits the image is exact: every pixel has its grey value.`;
  return `After ${count} of ${data.T} words, ${bits.toFixed(0)} bits, the guess is ` +
    `${rmse.toFixed(0)} grey levels off.`;
}
