// What the explorer of the board game says and draws: words, charts and tables.

import * as board from "./board.mjs";
import * as ui from "./explorer.mjs";
import { uniforms } from "./random.mjs";

const { html, svg } = ui;
const LISTED = 30; // histories
const WALKS = 8;

const percent = (p) => `${+(100 * p).toPrecision(2)} %`;
/** 1 000 with a narrow space, not a comma. */
export const grouped = (n) => n.toLocaleString("en").replaceAll(",", "\u202f");

/** 4.2 × 10²⁷: no one reads 28 digits in a sentence. */
function rounded(n) {
  if (n < 1e9) return grouped(n);
  const [factor, power] = Number(n).toExponential(1).split("e+");
  return `${factor} × 10${[...power].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("")}`;
}

const several = (n, one, many) => `${rounded(n)} ${n == 1 ? one : many}`;
const afterTurns = (n) => `after ${several(n, "turn", "turns")}`;

/** "8, 9 or 10"; a long run without gaps is "1 to 10". */
function listed(values) {
  const run = values.at(-1) - values[0] === values.length - 1;
  if (run && values.length > 3) return `${values[0]} to ${values.at(-1)}`;
  return values.join(", ").replace(/, (\d+)$/, " or $1");
}

/** "11/2 = 5.5", or only the decimal number where the fraction is long. */
function exact(fraction) {
  const [text, decimal] = [board.text(fraction), +board.number(fraction).toFixed(4)];
  if (fraction.den === 1n) return text;
  return text.length > 13 ? `about ${decimal}` : `${text} = ${decimal}`;
}

const isOneOf = ({ num, den }, p) => den === 1n && p.has(Number(num));

/** The mean of a law, and a hint where it is no possible value. */
function meanText(p, noun) {
  const mean = board.mean(p);
  return exact(mean) + (isOneOf(mean, p) ? "" : `, which is no possible ${noun}`);
}

/** All that is known about one question: the three laws and the number of histories. */
export function answer({ game, square, turns }) {
  return {
    last: turns ? board.lastSpin(game, square, turns) : null,
    previous: turns ? board.previous(game, square, turns) : null,
    start: board.start(game, square, turns),
    count: board.count(game, square, turns),
  };
}

export function summary({ game, square, turns }, { last, count }) {
  const where = `The piece stands on square ${square} ${afterTurns(turns)}.`;
  if (!last) return `${where} Nobody has spun yet.`;
  const ways = `${several(count, "history ends", "histories end")} there.`;
  return `${where} ${ways} ${lastSpinText(last, game.spinner)}`;
}

function lastSpinText(last, spinner) {
  if (board.same(last, spinner)) return "The square says nothing about the last spin.";
  if (last.size < spinner.size) return `The last spin was ${listed([...last.keys()])}.`;
  return "Every last spin is still possible, but not all are equally likely.";
}

export function noSuchGame({ game, square, turns }) {
  const reached = [...board.squares(game, turns).keys()];
  const [low, high] = [reached[0], reached.at(-1)];
  const inside = low < square && square < high;
  return (
    `No game from these starts is on square ${square} ${afterTurns(turns)}. ` +
    `The squares that can be reached lie from ${low} to ${high}` +
    (inside ? ", with gaps, and this one lies in a gap." : ".")
  );
}

export function factList({ game, turns }, { last, start, count }) {
  const before = board.entropy(game.spinner).toFixed(3);
  return ui.facts([
    ["Histories", grouped(count)],
    ...(last ? [
      ["Entropy of the last spin",
        `${board.entropy(last).toFixed(3)} bits, ${before} before the square was seen`],
      ["Mean of the last spin", meanText(last, "spin")],
    ] : []),
    ...(game.starts.size > 1 ? [["Mean of the start", meanText(start, "start")]] : []),
  ]);
}

export function historyList({ game, square, turns }, count) {
  if (!turns || count > LISTED) return [];
  const all = board.histories(game, square, turns, LISTED);
  const mass = all.reduce((sum, { weight }) => sum + weight, 0n);
  return all.map(({ start, spins, weight }) =>
    html("li", {}, `${start} + ${spins.join(" + ")}: `,
      html("b", {}, board.text(board.fraction(weight, mass)))),
  );
}

/** The share of each value among the games that were played, like `probabilities`. */
function shares(played) {
  const number = [...played.values()].reduce((a, b) => a + b, 0);
  return (x) => (played.get(x) ?? 0) / number;
}

/** Heights and words of the bars of one law, next to what was known and what was played. */
function items(p, values, before, played) {
  const [now, then] = [board.probabilities(p), before && board.probabilities(before)];
  const seen = played && shares(played);
  return values.map((x) => {
    const share = now.has(x) ? board.number(now.get(x)) : 0;
    const fraction = now.has(x) ? board.text(now.get(x)) : "0";
    const text = fraction.length < 6 ? fraction : percent(share);
    return { x, p: share, text, before: then && board.number(then.get(x)), played: seen?.(x) };
  });
}

/** The three charts: what to draw, over which values. */
export function questions({ game, square }, found, kept) {
  const spins = [...game.spinner.keys()];
  const all = board.range(spins[0], spins.at(-1));
  return [
    found.last && ["Last spin", found.last, all, game.spinner, kept?.last],
    found.previous && ["Previous square", found.previous,
      all.map((s) => square - s).reverse(), null, kept?.previous],
    ["Start", found.start, [...game.starts.keys()], game.starts, kept?.start],
  ].filter(Boolean);
}

function panel([title, p, values, before, played], width) {
  const bars = items(p, values, before, played);
  const known = bars.filter((bar) => bar.p > 0);
  const each = known.map(({ x, text }) => `${x}: ${text}`).join(", ");
  const label = known.length > 12 ? `${known.length} values; the table lists them` : each;
  return ui.bars({
    items: bars,
    from: values[0],
    to: values.at(-1),
    mean: board.number(board.mean(p)),
    width,
    label: `${title}. ${label}`,
  });
}

/** The charts of all questions side by side. */
export function showPanels(host, list) {
  const titles = list.map(([title]) => title);
  if (host.dataset.titles !== titles.join()) {
    host.dataset.titles = titles.join();
    host.replaceChildren(...titles.map((t) => html("div", {}, ui.title(t), html("div"))));
  }
  [...host.children].forEach((node, i) =>
    node.lastChild.replaceChildren(panel(list[i], ui.widthOf(node))));
}

/** Every exact probability, and how many games were kept. */
export const tableRows = (list, kept) =>
  list.flatMap(([title, p, , , played]) =>
    [...board.probabilities(p)].map(([x, share]) => {
      const row = [title, x, board.text(share), board.number(share).toPrecision(4)];
      return kept ? [...row, played.get(x) ?? 0] : row;
    }),
  );

/** Several walks back and the mean of all walks: square against turn. */
export function walkChart(width, { game, square, turns }, seed, animate) {
  const random = uniforms(seed);
  const walks = Array.from({ length: WALKS }, () =>
    board.reverse(game, square, turns, random));
  const means = board.reverseMean(game, square, turns).map(board.number);
  const places = [...game.starts.keys(), square];
  const [low, high] = [Math.min(...places), Math.max(...places)];
  const box = { left: 38, right: width - 16, top: 26, bottom: 242 };
  const x = ui.scale(0, turns, box.left + 10, box.right);
  const y = ui.scale(low, high, box.bottom - 8, box.top);
  // Walks that share a square are drawn side by side, so that each can be seen.
  const aside = (i) => (i - (WALKS - 1) / 2) * 1.3;
  const back = (walk, by) =>
    walk.map((s, j) => [x(j), y(s) + (j && j < turns ? by : 0)]).reverse();
  const ends = listed([...new Set(walks.map((walk) => walk[0]))].sort((a, b) => a - b));
  const label = `${WALKS} walks back from square ${square} at turn ${turns} end on ` +
    `the starts ${ends}; the mean of all walks is a straight line to ${+means[0].toFixed(3)}`;
  return ui.picture(width, 284, label,
    ...ui.axes(box, x, y, ui.ticks(0, turns, 8, true), ui.ticks(low, high, 6, true),
      "turn", "square"),
    ...walks.map((walk, i) => ui.path(back(walk, aside(i)),
      animate ? "walk drawn" : "walk", { pathLength: 1, "data-end": walk[0] })),
    ui.path(back(means, 0), "means"),
    ...[...game.starts.keys()].map((s) =>
      svg("circle", { cx: x(0), cy: y(s), r: 8, class: "start" })),
    svg("path", { d: `M${x(0)},${y(means[0])}m-6,0l6,-6l6,6l-6,6z`, class: "mean" }),
    svg("circle", { cx: x(turns), cy: y(square), r: 6, class: "now" }));
}

export function keptText(kept, { square, turns }, { last }) {
  if (!kept) return "";
  const of = `Of ${grouped(kept.games)} games, ${grouped(kept.number)} ` +
    `${kept.number === 1 ? "stands" : "stand"} on square ${square} ${afterTurns(turns)}.`;
  if (!kept.number) return `${of} Play more.`;
  return `${of} Whoever learns the last spin from these by squared error answers ` +
    `${(kept.spins / kept.number).toFixed(3)}; the exact mean is ${exact(board.mean(last))}.`;
}
