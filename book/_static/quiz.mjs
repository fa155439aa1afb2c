// Quizzes. Their options unfold without this script; it counts what was right at the
// first try, says so to screen readers, and takes numbers.

/** An element with attributes and children. */
function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const isRight = (option) => option.dataset.right === "1";
const number = (text) => Number(text.trim().replace(",", ".").replace("\u2212", "-") || NaN);

/** What a click on an option, or a typed number, means for the question. */
function judge(question, option) {
  const { options, state } = question;
  const open = options.filter((each) => each.open && isRight(each)).length;
  const wanted = options.filter(isRight).length;
  if (!isRight(option)) {
    state.wrong ||= !state.done;
    return "Not right. The reason is below the option.";
  }
  state.done = open === wanted;
  return state.done ? "Right." : `Right. ${wanted - open} more to find.`;
}

/** A field for a number: the right answer or a known mistake unfolds. */
function field(question, changed) {
  const { node, options, state } = question;
  const input = make("input", { type: "text", inputmode: "decimal", size: 8, autocomplete: "off" });
  const label = make("label", {}, "Your answer ", input);
  const form = make("form", {}, label, make("button", {}, "Check"));
  const within = Number(options.find(isRight).dataset.within);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const value = number(input.value);
    if (Number.isNaN(value)) return changed("Please type a number.");
    const hit = options.find((each) => Math.abs(value - each.dataset.number) <= within);
    state.typed = hit;
    state.wrong ||= !state.done && !(hit && isRight(hit));
    if (!hit) return changed("Not right. Try again, or open the answer.");
    if (hit.open) return changed(judge(question, hit));
    hit.open = true; // and its event says the rest
  });
  node.querySelector(".kind").after(form);
}

/** One question: listen to its options. */
function prepare(node, update) {
  const options = [...node.querySelectorAll(".option")];
  const verdict = make("p", { class: "verdict", role: "status" });
  const question = { node, options, verdict, state: {} };
  const changed = (text) => {
    verdict.textContent = text;
    update();
  };
  for (const option of options) {
    option.addEventListener("toggle", () => {
      if (!option.open) return;
      const asked = "number" in option.dataset && question.state.typed !== option;
      if (asked && isRight(option)) question.state.wrong ||= !question.state.done; // only looked
      changed(judge(question, option));
    });
  }
  node.append(verdict);
  if ("number" in options[0].dataset) field(question, changed);
  return question;
}

/** A whole quiz: its questions, the count below them, and a way to start again. */
function start(quiz) {
  const score = make("p", { class: "score", role: "status" });
  const again = make("button", { type: "button" }, "Start again");
  const update = () => {
    const done = questions.filter(({ state }) => state.done);
    const first = done.filter(({ state }) => !state.wrong).length;
    score.textContent =
      `Answered: ${done.length} of ${questions.length}. Right at the first try: ${first}.`;
  };
  const questions = [...quiz.querySelectorAll(".question")].map((node) => prepare(node, update));
  again.addEventListener("click", () => {
    for (const { node, options, verdict, state } of questions) {
      options.forEach((option) => (option.open = false));
      node.querySelector("form")?.reset();
      verdict.textContent = "";
      for (const key of Object.keys(state)) delete state[key];
    }
    update();
    quiz.querySelector("summary, input").focus();
  });
  quiz.append(make("div", { class: "total" }, score, again));
  quiz.classList.add("scripted");
  update();
}

document.querySelectorAll(".quiz").forEach(start);

// A formula in an option is no stop of its own for the keyboard.
addEventListener("load", async () => {
  await window.MathJax?.startup?.promise;
  for (const formula of document.querySelectorAll(".quiz summary mjx-container")) {
    formula.tabIndex = -1;
  }
});
