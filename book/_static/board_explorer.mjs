// The board game of chapter 7 in the page: choose a game, see where the piece came from.

import * as board from "./board.mjs";
import * as view from "./board_view.mjs";
import * as ui from "./explorer.mjs";
import { uniforms } from "./random.mjs";

const { html, key, title } = ui;
const LAST = 59; // the last square of the drawn board
const MOST = { starts: 20, turns: 40, weight: 99 };
const SPINNERS = {
  "1 to 10": board.uniform(board.range(1, 10)),
  "1 to 6, a die": board.uniform(board.range(1, 6)),
  "1 or 10": board.uniform([1, 10]),
};
const PRESETS = {
  "2 turns, square 18": { starts: [0], turns: 2, square: 18 },
  "2 turns, square 11: nothing learned": { starts: [0], turns: 2, square: 11 },
  "Two starts 10 apart": { starts: [0, 10], turns: 2, square: 18 },
  "Two starts 40 apart": { starts: [0, 40], turns: 2, square: 18 },
  "10 turns": { starts: [0], turns: 10, square: 55 },
  "20 starts in a row": { starts: board.range(0, 19), turns: 2, square: 21 },
};

/** How often each value occurs among the games that stand on the square. */
function keep(games, { square, turns }, old) {
  const kept = old ?? { games: 0, number: 0, spins: 0,
    last: new Map(), previous: new Map(), start: new Map() };
  const add = (map, x) => map.set(x, (map.get(x) ?? 0) + 1);
  kept.games += games.length;
  for (const walk of games.filter((each) => each[turns] === square)) {
    kept.number += 1;
    kept.spins += square - walk[turns - 1];
    add(kept.last, square - walk[turns - 1]);
    add(kept.previous, walk[turns - 1]);
    add(kept.start, walk[0]);
  }
  return kept;
}

/** The squares 0 to LAST as buttons; arrow keys move, Enter or Space chooses a start. */
function boardStrip(toggle) {
  const cells = board.range(0, LAST).map((x) =>
    html("button", { type: "button", tabindex: x ? -1 : 0, click: () => toggle(x) }, x));
  const columns = () => getComputedStyle(node).gridTemplateColumns.split(" ").length;
  function move(event) {
    const row = columns();
    const jumps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: row, ArrowUp: -row };
    const here = cells.indexOf(event.target);
    const there = cells[here + jumps[event.key]];
    if (!there) return;
    event.preventDefault();
    cells[here].tabIndex = -1;
    there.tabIndex = 0;
    there.focus();
  }
  const node = html("div", { class: "board", role: "group",
    "aria-label": "Board: choose the starts", keydown: move }, cells);
  function show({ game, square }, previous) {
    cells.forEach((cell, x) => {
      const piece = x === square ? ", the piece" : "";
      const before = previous?.has(x) ? ", perhaps the previous square" : "";
      const [chosen, label] = [game.starts.has(x), `square ${x}${piece}${before}`];
      const known = `${cell.getAttribute("aria-label")}${cell.getAttribute("aria-pressed")}`;
      if (known === `${label}${chosen}`) return;
      cell.setAttribute("aria-label", label);
      cell.setAttribute("aria-pressed", chosen);
      cell.classList.toggle("piece", Boolean(piece));
      cell.classList.toggle("before", Boolean(before));
    });
  }
  return { node, show };
}

/** A number for each start: how often games begin there. */
function weightInputs(state, change) {
  const one = ([x, weight]) => {
    const set = (event) => {
      const whole = Math.round(event.target.valueAsNumber) || 1;
      event.target.value = Math.max(1, Math.min(MOST.weight, whole));
      change({ weights: new Map(state.weights).set(x, event.target.valueAsNumber) });
    };
    const input = html("input",
      { type: "number", min: 1, max: MOST.weight, value: weight, change: set });
    return html("label", {}, `square ${x} `, input);
  };
  return [...state.weights].map(one);
}

const buttons = (...children) => html("div", { class: "buttons" }, children);

function makeControls(change) {
  return {
    turns: ui.slider({ name: "turns", label: "Turns", min: 0, max: MOST.turns, value: 0,
      change: (turns) => change({ turns }) }),
    square: ui.slider({ name: "square", label: "Square of the piece", min: 0, max: 10,
      value: 0, change: (square) => change({ square }) }),
    spinner: ui.choice({ name: "Spinner", options: Object.keys(SPINNERS).map((s) => [s, s]),
      change: (spinner) => change({ spinner }) }),
  };
}

function makeParts({ play, goBack, fillTable, fillWeights }) {
  const live = (kind) => html("p", { "aria-live": "polite", class: kind });
  const folded = (name, text, toggle) =>
    html("details", { class: name, toggle }, html("summary", {}, text), html("div"));
  return {
    summary: live("summary"),
    panels: html("div", { class: "panels" }),
    facts: html("dl"),
    histories: html("ul", { class: "histories" }),
    play: ui.button("Play 1000 games from the starts", play),
    kept: live("kept"),
    back: ui.button("Go back again", goBack),
    walks: html("div", { class: "walks" }),
    weights: folded("weights", "Weights of the starts", fillWeights),
    table: folded("exact", "The exact probabilities as a table", fillTable),
  };
}

/** Everything below the summary: it is hidden when no game is on the square. */
const resultsOf = (parts) =>
  html("div", { class: "results" },
    parts.panels,
    key(["Bars", "exact, given the square"], ["Dashes", "before it was seen"],
      ["Triangle", "the mean, where the bars balance"], ["Rings", "games that were played"]),
    buttons(parts.play), parts.kept,
    parts.facts, parts.histories, parts.table,
    title("Walk back, one drawn step at a time"),
    buttons(parts.back), parts.walks,
    key(["Lines", "walks, each step drawn from its exact probabilities; all end on starts"],
      ["Dashed line", "the mean of all walks"], ["Diamond", "where the mean ends"],
      ["Rings", "the starts"]));

function build(host) {
  const state = { spinner: "1 to 10", weights: new Map(), turns: 0, square: 0 };
  let [kept, found] = [null, null];
  let [seed, rounds] = [1, 0];

  /** A new question: games that were played belong to the old one. */
  function change(news) {
    Object.assign(state, news);
    if ("weights" in news || "spinner" in news)
      state.game = { starts: board.law(state.weights), spinner: SPINNERS[state.spinner] };
    const farthest = Math.max(...state.weights.keys()) + state.turns * 10 + 1;
    state.square = Math.min(state.square, farthest);
    kept = null;
    controls.turns.set({ value: state.turns });
    controls.square.set({ max: farthest, value: state.square });
    controls.spinner.set(state.spinner);
    fillWeights();
    draw();
  }
  /** Only where they are seen, and never under the fingers of someone who types. */
  function fillWeights() {
    const list = parts.weights.lastChild;
    if (parts.weights.open && !list.contains(document.activeElement))
      list.replaceChildren(...weightInputs(state, change));
  }
  function toggle(x) {
    const weights = new Map(state.weights);
    if (!weights.delete(x)) weights.set(x, 1);
    if (weights.size === 0) return tell("A game needs a start: choose another one first.");
    if (weights.size > MOST.starts) return tell(`At most ${MOST.starts} starts.`);
    change({ weights });
  }
  function tell(text) {
    if (parts.summary.textContent !== text) parts.summary.textContent = text;
  }
  function draw(animate = false) {
    if (!ui.hasRoom(host)) return;
    try {
      found = view.answer(state);
      show(animate);
    } catch (error) {
      if (!(error instanceof board.Unreachable)) throw error;
      strip.show(state, null);
      tell(view.noSuchGame(state));
      parts.results.hidden = true;
    }
  }
  function show(animate) {
    parts.results.hidden = false;
    const width = ui.widthOf(parts.results);
    const list = view.questions(state, found, kept?.number ? kept : null);
    tell(view.summary(state, found));
    strip.show(state, found.previous);
    view.showPanels(parts.panels, list);
    parts.facts.replaceChildren(...view.factList(state, found));
    parts.histories.replaceChildren(...view.historyList(state, found.count));
    parts.kept.textContent = view.keptText(kept, state, found);
    parts.play.disabled = parts.back.disabled = !state.turns;
    const chart = state.turns ? view.walkChart(width, state, seed, animate) : "";
    parts.walks.replaceChildren(chart);
    fillTable();
  }
  function fillTable() {
    if (!parts.table.open) return;
    const seen = kept?.number ? kept : null;
    const heads = ["", "value", "exactly", "decimal", ...(seen ? ["games"] : [])];
    const rows = view.tableRows(view.questions(state, found, seen), seen);
    parts.table.lastChild.replaceWith(ui.table(heads, rows));
  }
  function play() {
    rounds += 1;
    const games = board.play(state.game, state.turns, uniforms(1000 + rounds), 1000);
    kept = keep(games, state, kept);
    show(false);
  }
  function goBack() {
    seed += 1;
    draw(true);
  }

  const strip = boardStrip(toggle);
  const controls = makeControls(change);
  const parts = makeParts({ play, goBack, fillTable, fillWeights });
  parts.results = resultsOf(parts);
  const presets = Object.entries(PRESETS).map(([name, { starts, ...rest }]) => {
    const weights = new Map(starts.map((x) => [x, 1]));
    return ui.button(name, () => change({ ...rest, spinner: "1 to 10", weights }));
  });
  host.replaceChildren(
    html("div", { class: "buttons", role: "group", "aria-label": "Examples" }, presets),
    title("Where may the game have begun? Choose the starts"),
    strip.node,
    key(["Frame", "a start"], ["Disc", "the piece"],
      ["Underlined", "perhaps the previous square"]),
    parts.weights,
    html("div", { class: "controls" }, Object.values(controls).map((each) => each.node)),
    parts.summary, parts.results);
  presets[0].click();
  return () => draw();
}

ui.start("board", build);
