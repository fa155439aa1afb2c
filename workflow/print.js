/* Take over what a page of the site shows, for workflow/print.py.

   Names carry the name of their page, because all pages become one document. What is
   wider than paper is made smaller, folds are opened, canvases become pictures. */
([page, pages, base]) => {
  const article = document.querySelector("article.bd-article");
  const scope = `p-${page.replace(/\W/g, "-")}`;

  for (const fold of article.querySelectorAll("details")) fold.open = true;
  for (const canvas of article.querySelectorAll("canvas")) {
    const picture = document.createElement("img");
    for (const { name, value } of canvas.attributes) picture.setAttribute(name, value);
    picture.alt = canvas.getAttribute("aria-label") ?? "";
    picture.src = canvas.toDataURL();
    canvas.replaceWith(picture);
  }

  const fit = (box, inner) => {
    const room = box.clientWidth, wide = inner ? inner.getBoundingClientRect().width : 0;
    if (wide > room + 1) inner.style.zoom = room / wide;
  };
  for (const box of article.querySelectorAll("div.math mjx-container"))
    fit(box, box.querySelector("mjx-math"));
  for (const table of article.querySelectorAll("table")) fit(table.parentElement, table);

  for (const link of article.querySelectorAll("a[href]")) {
    if (!link.href.startsWith(base)) continue;
    const [path, anchor] = link.href.slice(base.length).split("#");
    const target = path.replace(/\.html$/, "");
    if (!pages.includes(target)) link.removeAttribute("href");
    else link.setAttribute("href", anchor ? `#${anchor}` : "#");
    link.dataset.target = target;
  }
  for (const image of article.querySelectorAll("img")) image.src = image.src;
  article.querySelectorAll("script, .headerlink, .copybtn").forEach((e) => e.remove());

  for (const named of article.querySelectorAll("[id]")) named.id = `${page}--${named.id}`;
  for (const user of article.querySelectorAll('[href^="#"]')) {
    const anchor = user.getAttribute("href").slice(1), target = user.dataset.target ?? page;
    user.setAttribute("href", anchor ? `#${target}--${anchor}` : `#${target}`);
  }
  for (const shape of article.querySelectorAll("svg [style*='url('], svg [clip-path]"))
    for (const name of ["style", "clip-path"])
      if (shape.hasAttribute(name))
        shape.setAttribute(name, shape.getAttribute(name).replace(/url\(["']?#([^"')]+)["']?\)/g, `url(#${page}--$1)`));
  for (const style of article.querySelectorAll("svg.letters style"))
    style.textContent = style.textContent.replaceAll(".figure", `.${scope} .figure`);

  article.id = page;
  article.classList.add(scope);
  const formulas = document.getElementById("MJX-CHTML-styles");
  const rules = formulas ? [...formulas.sheet.cssRules].map((rule) => rule.cssText) : [];
  const sheets = [...document.querySelectorAll('link[rel="stylesheet"]')];
  return {
    title: article.querySelector("h1").textContent.trim(),
    article: article.outerHTML,
    formulas: rules.join("\n"),
    sheets: sheets.map((e) => `<link rel="stylesheet" href="${e.href}">`),
  };
};
