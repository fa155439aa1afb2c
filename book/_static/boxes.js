/* What is wider than its box scrolls in it. Then the box is a stop of the Tab key, has
   a name, and the arrow keys scroll it; a box that shows everything is no stop. */
(() => {
  const KINDS = [
    ["div.highlight pre, .cell_output pre", "Code or its output, wider than the page"],
    [".pst-scrollable-table-container, .cell_output .output", "Table or figure, wider than the page"],
    ["figure", "Figure, wider than the page"],
    ["div.math mjx-container", "Formula, wider than the page"],
  ];

  function name(box, label) {
    const wide = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
    const scrolls = wide && /auto|scroll/.test(getComputedStyle(box).overflow);
    if (scrolls === (box.dataset.scrolls === "yes")) return;
    box.dataset.scrolls = scrolls ? "yes" : "no";
    for (const [key, value] of [["tabindex", 0], ["role", "group"], ["aria-label", label]]) {
      if (key === "role" && box.localName === "figure") continue; // it has one
      scrolls ? box.setAttribute(key, value) : box.removeAttribute(key);
    }
  }

  function all() {
    for (const [selector, label] of KINDS)
      for (const box of document.querySelectorAll(`article :is(${selector})`)) name(box, label);
  }

  addEventListener("load", () => {
    all();
    (window.formulasReady ?? Promise.resolve()).then(all);
    let wait;
    addEventListener("resize", () => (clearTimeout(wait), (wait = setTimeout(all, 200))));
    document.addEventListener("toggle", all, true); // a fold that was opened
  });
})();
