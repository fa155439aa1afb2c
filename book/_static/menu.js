/* The menu of downloads: a button that shows a list and says whether it does. */
document.addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll(".dropdown-toggle")) {
    const list = button.nextElementSibling;
    const show = (open) => {
      list.classList.toggle("show", open);
      button.setAttribute("aria-expanded", open);
    };
    button.addEventListener("click", () => show(!list.classList.contains("show")));
    button.parentElement.addEventListener("focusout", (event) => {
      if (!button.parentElement.contains(event.relatedTarget)) show(false);
    });
    button.parentElement.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      show(false);
      button.focus();
    });
    document.addEventListener("click", (event) => {
      if (!button.parentElement.contains(event.target)) show(false);
    });
  }
});
