// The theme that the reader chose on the pages of the book; light on paper.

const paper = /print-pdf/.test(location.search);
const dark = matchMedia("(prefers-color-scheme: dark)");

function theme() {
  const mode = localStorage.getItem("mode");
  if (paper) return "light";
  return mode === "dark" || mode === "light" ? mode : dark.matches ? "dark" : "light";
}

function dress() {
  document.documentElement.dataset.theme = theme();
}

dark.addEventListener("change", dress);
addEventListener("storage", dress);
dress();
