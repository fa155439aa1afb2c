// What the explorers share: elements, controls, axes and bars. No state, no mathematics.

const SVG = "http://www.w3.org/2000/svg";
let ids = 0;

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat());
  return element;
}

/** An HTML element; an attribute that is a function listens to the event of its name. */
export const html = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);

/** An SVG element. */
export const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

/** A letter with an index, such as x_t. */
export const symbol = (letter, index) =>
  html("span", {}, html("i", {}, letter), html("sub", {}, index));

export const button = (text, click, attributes = {}) =>
  html("button", { type: "button", click, ...attributes }, text);

/** A labelled slider with a smaller and a larger step: {node, set({value, min, max})}. */
export function slider({ name, label = name, step = 1, show = String, change, ...range }) {
  const id = `explorer-${ids++}`;
  const output = html("output", { for: id });
  const by = (sign) => () => {
    sign > 0 ? input.stepUp() : input.stepDown();
    changed();
  };
  const less = button("−", by(-1), { "aria-label": `less: ${name}` });
  const more = button("+", by(1), { "aria-label": `more: ${name}` });
  const input = html("input", { id, type: "range", step, input: changed });
  function say() {
    output.textContent = show(input.valueAsNumber);
    input.setAttribute("aria-valuetext", output.textContent);
  }
  function changed() {
    say();
    change(input.valueAsNumber);
  }
  function set(values) {
    for (const each of ["min", "max", "value"])
      if (each in values) input[each] = values[each];
    say();
  }
  set(range);
  const title = html("label", { for: id }, label, " ", output);
  const row = html("div", { class: "stepper" }, less, input, more);
  return { node: html("div", { class: "control" }, title, row), set };
}

/** A labelled list to choose from: [[value, text], ...]. */
export function choice({ name, options, change }) {
  const items = options.map(([value, text]) => html("option", { value }, text));
  const list = html("select", { change: () => change(list.value) }, items);
  const node = html("label", { class: "control" }, html("span", {}, name), list);
  return { node, set: (value) => (list.value = value) };
}

/** A linear map from [a, b] to pixels [left, right]. */
export const scale = (a, b, left, right) => (x) =>
  left + ((x - a) / (b - a || 1)) * (right - left);

/** About `n` round numbers from a to b. */
export function ticks(a, b, n, whole = false) {
  const rough = (b - a) / n || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 5, 10].find((f) => f * power >= rough);
  const step = Math.max(factor * power, whole ? 1 : 0);
  const first = Math.ceil(a / step - 1e-9);
  const last = Math.floor(b / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => +((first + i) * step).toFixed(9));
}

/** An empty picture of this size in pixels; `label` says what it shows. */
export const picture = (width, height, label, ...children) =>
  svg(
    "svg",
    { role: "img", "aria-label": label, width, height, viewBox: `0 0 ${width} ${height}` },
    ...children,
  );

export const line = (x1, y1, x2, y2, kind) =>
  svg("line", { x1, y1, x2, y2, class: kind });

export const words = (x, y, text, anchor = "middle", kind = "") =>
  svg("text", { x, y, "text-anchor": anchor, class: kind }, String(text));

/** A polyline through [x, y] pixels. */
export const path = (points, kind, attributes = {}) =>
  svg("polyline", {
    points: points.map((p) => p.map((v) => v.toFixed(1)).join()).join(" "),
    class: kind,
    ...attributes,
  });

const minus = (v) => String(v).replace("-", "−");

/** Ticks and numbers of two axes that cross at the lower left corner of the box. */
export function axes({ left, right, top, bottom }, x, y, xTicks, yTicks, xName, yName) {
  return [
    line(left, bottom, right, bottom, "axis"),
    line(left, top, left, bottom, "axis"),
    xTicks.map((v) => [line(x(v), bottom, x(v), bottom + 4, "axis"),
      words(x(v), bottom + 17, minus(v))]),
    yTicks.map((v) => [line(left - 4, y(v), left, y(v), "axis"),
      words(left - 9, y(v) + 4, minus(v), "end")]),
    words((left + right) / 2, bottom + 35, xName),
    words(4, top - 13, yName, "start"),
  ].flat(2);
}

/** The balance point of the bars, under the axis: where one number would sit. */
export const fulcrum = (x, y) =>
  svg("path", { d: `M${x},${y}l-6,11h12z`, class: "mean" });

/** Bars at their places on a line, with the point where they balance.
 *
 * `items` are {x, p, text, before, played}: place, height, words above the bar, and two
 * optional heights: a dash for what was known before, a ring for what was played.
 */
export function bars({ items, from, to, mean, width, label, height = 150 }) {
  const box = { left: 8, right: width - 8, top: 20, bottom: height - 40 };
  const slot = Math.min((box.right - box.left) / (to - from + 1), 48);
  const spread = (slot * (to - from)) / 2;
  const x = scale(from, to, width / 2 - spread, width / 2 + spread);
  const highest = Math.max(...items.flatMap((i) => [i.p, i.before ?? 0, i.played ?? 0]));
  const y = scale(0, highest || 1, box.bottom, box.top);
  const half = Math.max(slot * 0.38, 1.5);
  const draw = (item) => [
    item.p > 0 && svg(
      "rect",
      { x: x(item.x) - half, y: y(item.p), width: 2 * half, class: "bar",
        height: box.bottom - y(item.p) },
      svg("title", {}, `${item.x}: ${item.text}`),
    ),
    item.before > 0 && line(x(item.x) - half - 1, y(item.before), x(item.x) + half + 1,
      y(item.before), "before"),
    (item.p > 0 || item.played > 0) && item.played !== undefined &&
      svg("circle", { cx: x(item.x), cy: y(item.played), r: 3.5, class: "played" }),
    item.p > 0 && item.text.length * 6.5 < slot + 2 &&
      words(x(item.x), y(Math.max(item.p, item.played ?? 0)) - 6, item.text, "middle", "small"),
  ];
  return picture(
    width,
    height,
    label,
    ...items.flatMap(draw).filter(Boolean),
    line(box.left, box.bottom, box.right, box.bottom, "axis"),
    ...spaced(items, x).map((v) => words(x(v), box.bottom + 15, minus(v))),
    ...(mean === undefined ? [] : [fulcrum(x(mean), box.bottom + 22)]),
  );
}

/** The places whose numbers fit side by side: each, each second, each third, ... */
function spaced(items, x) {
  const room = 4 + 7.6 * Math.max(...items.map((item) => String(item.x).length));
  const gaps = items.slice(1).map((item, i) => x(item.x) - x(items[i].x));
  const stride = Math.max(1, Math.ceil(room / Math.min(...gaps)));
  return items.filter((_, i) => i % stride === 0).map((item) => item.x);
}

/** A table that opens on demand: the exact numbers behind a picture. */
export function table(heads, rows) {
  const cells = (row, tag) => row.map((text) => html(tag, {}, text));
  return html(
    "table",
    {},
    html("thead", {}, html("tr", {}, cells(heads, "th"))),
    html("tbody", {}, rows.map((row) => html("tr", {}, cells(row, "td")))),
  );
}

export const title = (text) => html("p", { class: "title" }, text);

/** What the signs of a picture mean: "Bars: exact. Rings: played." from pairs. */
export const key = (...pairs) =>
  html("p", { class: "key" },
    pairs.flatMap(([sign, meaning]) => [html("b", {}, sign), `: ${meaning}. `]));

/** A list of numbers with their names; values may be nodes. */
export const facts = (pairs) =>
  pairs.flatMap(([name, value]) => [html("dt", {}, name), html("dd", {}, value)]);

let widths = new WeakMap();

/** The width of an element, measured once for each width of its explorer.
 *
 * To measure lays the whole page out again, which takes longer than all the drawing.
 */
export function widthOf(element) {
  if (!widths.has(element)) widths.set(element, element.clientWidth);
  return widths.get(element);
}

/** Whether an element is laid out and wide enough to draw in; a hidden one is not. */
export const hasRoom = (host) => widthOf(host) > 160;

/** Build the explorer in each element that asks for it; draw it at every new width. */
export function start(name, build) {
  for (const host of document.querySelectorAll(`[data-explorer="${name}"]`)) {
    const draw = build(host);
    let width = 0;
    new ResizeObserver(() => {
      if (host.clientWidth === width) return;
      width = host.clientWidth;
      widths = new WeakMap();
      draw();
    }).observe(host);
  }
}
