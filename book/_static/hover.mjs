// Cards: a reference that is pointed at, or focused with the keyboard, shows what it
// refers to: an equation, a figure, a section, an entry of bibliography or glossary.
// Nothing is loaded but pages of this site, and each of them once. Escape hides a card.

const REFERENCES = ".bd-article a.reference.internal[href]";
const WAIT = 250; // before a card is shown, so that a passing pointer shows none
const LEAVE = 200; // before it is hidden, so that the pointer can move onto it
const GAP = 6; // pixels between the reference and its card

const card = document.createElement("div");
card.className = "hover-card tex2jax_ignore";
card.id = "hover-card";
card.setAttribute("role", "tooltip");
card.hidden = true;

let shown = null; // the reference whose card is shown
let wanted = null; // the one whose card is on its way
let timer = 0;

const pages = new Map();

/** The page at an address without its hash: this one, or one that is fetched once. */
function page(address) {
  if (address === location.href.split("#")[0]) return Promise.resolve(document);
  if (!pages.has(address)) {
    const parsed = fetch(address)
      .then((answer) => (answer.ok ? answer.text() : Promise.reject(answer.status)))
      .then((text) => new DOMParser().parseFromString(text, "text/html"));
    pages.set(address, parsed);
  }
  return pages.get(address);
}

/** A copy of an element without links to itself. */
function copy(element) {
  const clone = element.cloneNode(true);
  clone.querySelectorAll(".headerlink, script, .backrefs").forEach((e) => e.remove());
  return clone;
}

function titled(heading, ...rest) {
  const title = document.createElement("p");
  title.className = "card-title";
  title.append(...copy(heading).childNodes);
  return [title, ...rest.filter(Boolean).map(copy)];
}

function section(element) {
  const heading = element.querySelector("h1, h2, h3, h4");
  return heading && titled(heading, element.querySelector(":scope > p"));
}

/** What a card shows of its target; null if it is of no kind that we know. */
function excerpt(target) {
  const whole = target.closest("figure, div.math");
  if (whole) return [copy(whole)];
  if (target.matches("div.citation")) return [...target.querySelectorAll("p")].map(copy);
  if (target.matches("dt")) return titled(target, target.nextElementSibling);
  if (target.matches("section")) return section(target);
  const near = target.nextElementSibling?.matches("section")
    ? target.nextElementSibling
    : target.closest("section");
  return target.matches("span") && near ? section(near) : null;
}

/** A drawing under names of the card's own: those of the page may mean something else. */
function renamed(drawing) {
  return drawing.outerHTML
    .replace(/\bid="/g, 'id="card-')
    .replace(/href="#/g, 'href="#card-')
    .replace(/url\((&quot;|")?#/g, "url($1#card-")
    .replace(/\bclass="(k\d+")/g, 'class="card-$1')
    .replace(/\.(k\d+\{)/g, ".card-$1");
}

/** No id twice on the page, inside of drawings neither, and links that still lead.
 *
 *  `shared` has the letters and looks that the drawings of their page share. */
function moved(elements, from, shared) {
  const box = document.createElement("div");
  box.append(...elements);
  if (shared && box.querySelector("svg.figure")) box.append(shared.cloneNode(true));
  for (const drawing of box.querySelectorAll("svg")) drawing.outerHTML = renamed(drawing);
  box.removeAttribute("id");
  box.querySelectorAll("[id]:not(svg *)").forEach((e) => e.removeAttribute("id"));
  for (const [name, list] of [["href", "a[href]"], ["src", "img[src]"]]) {
    for (const e of box.querySelectorAll(list)) {
      e.setAttribute(name, new URL(e.getAttribute(name), from).href);
    }
  }
  return [...box.childNodes];
}

async function contents(reference) {
  const url = new URL(reference.href, location.href);
  if (url.protocol !== location.protocol || url.host !== location.host) return null;
  const address = url.href.split("#")[0];
  const whole = await page(address);
  const target = url.hash
    ? whole.getElementById(decodeURIComponent(url.hash.slice(1)))
    : whole.querySelector(".bd-article section");
  const found = target && excerpt(target);
  return found && moved(found, address, whole.querySelector("svg.letters"));
}

/** Below the reference if there is room, else above: never on it. */
function place(reference) {
  const lines = reference.getClientRects();
  const first = lines[0];
  const last = lines[lines.length - 1];
  const below = innerHeight - last.bottom - 2 * GAP;
  const above = first.top - 2 * GAP;
  const under = below >= Math.min(card.scrollHeight, 416) || below >= above;
  card.style.maxHeight = `${Math.max(80, Math.min(416, under ? below : above))}px`;
  const size = card.getBoundingClientRect();
  const line = under ? last : first;
  const left = Math.min(line.left, document.documentElement.clientWidth - size.width - 16);
  const top = under ? line.bottom + GAP : line.top - GAP - size.height;
  card.style.left = `${Math.max(8, left) + scrollX}px`;
  card.style.top = `${top + scrollY}px`;
}

function hide() {
  clearTimeout(timer);
  wanted = null;
  if (!shown) return;
  shown.removeAttribute("aria-describedby");
  shown = null;
  card.hidden = true;
  window.MathJax?.typesetClear?.([card]);
  card.replaceChildren();
}

async function show(reference) {
  wanted = reference;
  const found = await contents(reference).catch(() => null);
  if (wanted !== reference) return;
  hide();
  if (!found) return;
  card.replaceChildren(...found);
  card.style.maxHeight = "";
  card.style.left = card.style.top = "0";
  card.hidden = false;
  shown = wanted = reference;
  reference.setAttribute("aria-describedby", card.id);
  place(reference);
  await window.MathJax?.typesetPromise?.([card]);
  if (shown === reference) place(reference);
}

function soon(action, after) {
  clearTimeout(timer);
  timer = setTimeout(action, after);
}

const referenceOf = (event) =>
  event.target instanceof Element ? event.target.closest(REFERENCES) : null;

document.body.append(card);

// A finger follows a link at once and sees no card.
document.addEventListener("pointerover", (event) => {
  if (event.pointerType === "touch") return;
  const reference = referenceOf(event);
  if (card.contains(event.target) || (reference && reference === shown)) clearTimeout(timer);
  else if (reference) soon(() => show(reference), WAIT);
  else if ((shown ?? wanted)?.matches(":focus-visible")) clearTimeout(timer); // it scrolled
  else if (shown || wanted) soon(hide, LEAVE);
  else clearTimeout(timer);
});
document.addEventListener("focusin", (event) => {
  const reference = referenceOf(event);
  if (reference?.matches(":focus-visible")) show(reference);
});
document.addEventListener("focusout", (event) => {
  if (referenceOf(event) && !card.contains(event.relatedTarget)) hide();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hide();
});
addEventListener("click", (event) => card.contains(event.target) || hide());
addEventListener("resize", hide);
