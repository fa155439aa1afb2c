// The codec of chapter 5 in the page: let the words of an image arrive one by one.
//
// The chapter sent and received the images; what the receiver had after each word is in
// the page, as JSON: {side, T, head, images: [{digit, frames: [{t, bits, seen, guess,
// rmse}]}]}. Frame 0 is before the first word, the last one is the image itself.

import * as ui from "./explorer.mjs";
import * as view from "./codec_view.mjs";

const { html } = ui;

function build(host) {
  const data = JSON.parse(document.getElementById("codec-data").textContent);
  const state = { image: 0, count: 5 };
  const last = data.T + 1; // the words x_T, ..., x_1, and the image

  function change(news) {
    Object.assign(state, news);
    controls.count.set({ value: state.count });
    draw();
  }
  function draw() {
    if (!ui.hasRoom(host)) return;
    const { frames } = data.images[state.image];
    const frame = frames[state.count];
    const named = state.count === 0 ? "No word yet"
      : state.count > data.T ? "Named: the image" : `Named: x at t = ${frame.t}`;
    view.show(parts.seen, data.side, named, frame.seen);
    view.show(parts.guess, data.side, "The guess", frame.guess);
    view.show(parts.original, data.side, "What was sent", frames.at(-1).guess);
    parts.curve.replaceChildren(
      view.curve(ui.widthOf(parts.curve), data, frames, state.count));
    parts.facts.replaceChildren(...view.factList(data, frames, state.count));
    parts.summary.textContent = view.summary(data, frames, state.count);
  }

  const controls = {
    count: ui.slider({
      name: "words", label: "Words that have arrived:", min: 0, max: last, value: 5,
      show: (n) => (n > data.T ? "all" : String(n)), change: (count) => change({ count }),
    }),
    image: ui.choice({
      name: "Image",
      options: data.images.map(({ digit }, i) => [i, `${i + 1}: a ${digit}`]),
      change: (image) => change({ image: Number(image) }),
    }),
  };
  const parts = {
    seen: view.picture(), guess: view.picture(), original: view.picture(),
    curve: html("div"), facts: html("dl"),
    summary: html("p", { "aria-live": "polite", class: "summary" }),
  };
  const pictures = [parts.seen, parts.guess, parts.original].map((each) => each.node);
  host.replaceChildren(
    html("div", { class: "controls" }, Object.values(controls).map((each) => each.node)),
    html("div", { class: "pictures" }, pictures),
    parts.summary,
    ui.title("The curve fills"),
    parts.curve,
    ui.key(["Dots", "words that have arrived"], ["Rings", "words to come"]),
    parts.facts);
  return () => draw();
}

ui.start("codec", build);
