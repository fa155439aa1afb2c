// The table of chapter 17 in the page: show the claims of one source, verdict, chapter or
// with some words. The table is complete without this; all that is shown is read off it.

import * as ui from "./explorer.mjs";

const { html } = ui;
const FILTERS = { // attribute of a row -> its name, and where the row says it in words
  source: ["Source", ".source"],
  verdict: ["Verdict", ".verdict"],
  chapter: ["Chapter", ".chapter"],
};

const plain = (text) => text.normalize("NFKC").toLowerCase();

/** Whether a row {source, verdict, chapter, text} is what a question of this form asks for.
 *
 * An empty part asks for nothing; of the text, every word must occur.
 */
export function matches(row, question) {
  const words = plain(question.text ?? "").split(/\s+/).filter(Boolean);
  return Object.keys(FILTERS).every((name) => !question[name] || row[name] === question[name])
    && words.every((word) => plain(row.text).includes(word));
}

/** "12 of 161 claims: 9 false, 3 unsupported.", verdicts from frequent to rare. */
export function summary(shown, all) {
  if (!shown.length) return `None of the ${all.length} claims fits.`;
  const counts = new Map();
  for (const { verdict } of shown) counts.set(verdict, (counts.get(verdict) ?? 0) + 1);
  const parts = [...counts].sort(([, a], [, b]) => b - a).map(([name, n]) => `${n} ${name}`);
  return `${shown.length} of ${all.length} claims: ${parts.join(", ")}.`;
}

/** The rows of the table: {element, text, source, verdict, chapter}. */
const read = (table) => [...table.tBodies[0].rows].map((element) =>
  ({ element, text: element.textContent, ...element.dataset }));

/** What a list offers: every value in the order of the table, in words, with its count. */
function options(rows, name) {
  const [, where] = FILTERS[name];
  const found = new Map();
  for (const row of rows) {
    const words = row.element.querySelector(where).textContent;
    const [, n] = found.get(row[name]) ?? [words, 0];
    found.set(row[name], [found.get(row[name])?.[0] ?? words, n + 1]);
  }
  const all = [...found].map(([value, [words, n]]) => [value, `${words} (${n})`]);
  if (name === "chapter") all.sort(([a], [b]) => a.localeCompare(b));
  return [["", `all (${rows.length})`], ...all];
}

function search(change) {
  const field = html("input", { type: "search", autocomplete: "off",
    input: () => change({ text: field.value }) });
  const node = html("label", { class: "control" }, html("span", {}, "Words"), field);
  return { node, set: (text) => field.value !== text && (field.value = text) };
}

/** The question in the address of the page, so that an answer can be linked. */
function asked() {
  const given = new URLSearchParams(location.search);
  const names = [...Object.keys(FILTERS), "text"];
  return Object.fromEntries(names.map((name) => [name, given.get(name) ?? ""]));
}

function remember(question) {
  const given = Object.entries(question).filter(([, value]) => value);
  const query = new URLSearchParams(given).toString();
  history.replaceState(null, "", (query ? `?${query}` : location.pathname) + location.hash);
}

function build(host) {
  const rows = read(document.querySelector("table.claims"));
  const question = asked();

  function change(news) {
    Object.assign(question, news);
    remember(question);
    show();
  }
  function show() {
    const shown = rows.filter((row) => matches(row, question));
    for (const row of rows) row.element.hidden = true;
    for (const row of shown) row.element.hidden = false;
    for (const [name, control] of Object.entries(controls)) control.set(question[name]);
    said.textContent = summary(shown, rows);
    again.disabled = !Object.values(question).some(Boolean);
  }

  const controls = { text: search(change) };
  for (const [name, [title]] of Object.entries(FILTERS))
    controls[name] = ui.choice({ name: title, options: options(rows, name),
      change: (value) => change({ [name]: value }) });
  const said = html("p", { class: "summary", role: "status", "aria-live": "polite" });
  const again = ui.button("Show all", () =>
    change(Object.fromEntries(Object.keys(question).map((name) => [name, ""]))));
  host.setAttribute("role", "search");
  host.setAttribute("aria-label", "Choose claims");
  host.replaceChildren(
    html("div", { class: "controls" }, Object.values(controls).map((each) => each.node)),
    html("div", { class: "buttons" }, again),
    said);
  for (const [name, control] of Object.entries(controls)) // a value that is no option
    if (name !== "text" && !options(rows, name).some(([value]) => value === question[name]))
      question[name] = "";
  show();
  return () => {};
}

ui.start("claims", build);
