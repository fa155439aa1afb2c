// Typeset the formulas, make every slide fit, then start the show.

const SIZES = [38, 36, 34, 32, 30, 28, 26, 24, 22, 20, 19, 18]; // of the text, in pixels
const SMALLEST = 0.72; // a formula, as a share of the size of the text

window.MathJax = {
  loader: {
    load: ["core", "input/tex-base", "[tex]/ams", "output/chtml", "a11y/assistive-mml"],
  },
  tex: {
    packages: { "[+]": ["ams"] },
    inlineMath: [["$", "$"]],
    displayMath: [["$$", "$$"]],
    processEscapes: true,
  },
  chtml: { matchFontHeight: false },
  startup: { pageReady: () => MathJax.startup.defaultPageReady().then(start) },
};

/** Make each wide formula of a slide as small as it must be; the smallest share. */
function scaleFormulas(page) {
  const shares = [...page.querySelectorAll("mjx-container[display]")].map(formula => {
    formula.style.fontSize = "100%";
    const share = Math.min(1, formula.clientWidth / formula.scrollWidth);
    if (share < 1) formula.style.fontSize = `${Math.floor(share * 98)}%`;
    return share;
  });
  return Math.min(1, ...shares);
}

/** Take the largest size of the text at which a slide holds all that it has. */
function fit(page) {
  for (const size of SIZES) {
    page.style.fontSize = `${size}px`;
    const share = scaleFormulas(page);
    if (share > SMALLEST && page.scrollHeight <= page.clientHeight) return;
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
