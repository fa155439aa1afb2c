// Typeset the formulas, make every slide fit, then start the show.

const SIZES = [32, 30, 28, 26, 24, 22, 20, 19, 18]; // of the text, in pixels

window.MathJax = {
  tex: {
    inlineMath: [["$", "$"]],
    displayMath: [["$$", "$$"]],
    processEscapes: true,
  },
  chtml: { matchFontHeight: false },
  options: { enableMenu: false },
  startup: { ready: () => { MathJax.startup.defaultReady(); MathJax.startup.promise.then(start); } },
};

/** Whether all that a slide holds lies inside of it. */
function fits(page) {
  const formulas = [...page.querySelectorAll("mjx-container[display]")];
  return page.scrollHeight <= page.clientHeight && page.scrollWidth <= page.clientWidth &&
    formulas.every(f => f.scrollWidth <= f.clientWidth + 1);
}

/** Take the largest size of the text at which a slide holds everything. */
function fit(page) {
  for (const size of SIZES) {
    page.style.fontSize = `${size}px`;
    if (fits(page)) return;
  }
  shrinkFormulas(page);
}

/** At the smallest size, formulas that are still too wide become smaller alone. */
function shrinkFormulas(page) {
  for (const formula of page.querySelectorAll("mjx-container[display]")) {
    const share = formula.clientWidth / formula.scrollWidth;
    if (share < 1) formula.style.fontSize = `${Math.floor(share * 98)}%`;
  }
}

async function start() {
  await document.fonts.ready;
  document.querySelectorAll(".page").forEach(fit);
  document.documentElement.classList.remove("fitting");
  await Reveal.initialize({
    width: 1280,
    height: 720,
    margin: 0,
    center: false,
    hash: true,
    navigationMode: "linear",
    slideNumber: "c/t",
    transition: "none",
    backgroundTransition: "none",
    pdfMaxPagesPerSlide: 1,
    scrollActivationWidth: null,
    plugins: window.RevealNotes ? [RevealNotes] : [],
  });
  document.documentElement.classList.add("ready");
}
