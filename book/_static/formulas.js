/* Formulas in small steps, those on the screen first, so that the page answers at once.

   MathJax by itself works through the whole page in one piece of a second or more.
   It waits for `MathJax.startup.promise`, as everything does that needs formulas. */
(() => {
  if (!window.MathJax) return;
  const STEP = 12; // formulas between two moments in which the page can answer
  const ready = new Promise((done) => {
    window.MathJax.startup = {
      typeset: false,
      pageReady: () => MathJax.startup.defaultPageReady().then(inSteps).then(done),
    };
  });
  const pause = () => new Promise((go) => setTimeout(go));
  const middle = (e) => e.getBoundingClientRect().top - innerHeight / 2;

  async function inSteps() {
    const all = [...document.querySelectorAll(".math")].map((e) => [Math.abs(middle(e)), e]);
    const near = all.sort((a, b) => a[0] - b[0]).map((pair) => pair[1]);
    while (near.length) {
      await MathJax.typesetPromise(near.splice(0, STEP));
      document.documentElement.dataset.formulas = near.length ? "some" : "all";
      await pause();
    }
  }
  window.formulasReady = ready;
})();
