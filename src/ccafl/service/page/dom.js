// Elements made from values. Text is never parsed as HTML: names come from the data.

/**
 * An element with attributes, listeners and children.
 *
 * @param {string} tag
 * @param {Object} [attributes] `on: {event: listener}`, `data: {name: value}`; true sets an attribute; false and null omit it.
 * @param {...(Node|string|number|null|false)} children
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...kept(children));
  return element;
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...kept(children));
  return element;
}

/** Replace an element's content. */
export function fill(element, ...children) {
  element.replaceChildren(...kept(children));
}

export const byId = (id) => document.getElementById(id);

function kept(children) {
  const given = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  return given.map((child) => (child instanceof Node ? child : String(child)));
}

const ANSWERS = { y: "yes", n: "no", s: "skip", " ": "skip", u: "undo" };

/** Answer a question by key: `answer` is called with "yes", "no", "skip" or "undo". A key held down answers once. */
export function onAnswerKeys(place, answer) {
  place.addEventListener("keydown", (event) => {
    const name = ANSWERS[event.key.toLowerCase()];
    if (!name || event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select")) return;
    event.preventDefault(); // space would press the button that has the focus
    answer(name);
  });
}

/** One tab stop for each grid within a place: its first tile, then the one that had the focus last. */
export function tabStops(place) {
  for (const grid of place.querySelectorAll("[data-grid]")) {
    const tiles = [...grid.querySelectorAll("[data-open]")];
    const stop = tiles.find((tile) => tile === document.activeElement) ?? tiles[0];
    for (const tile of tiles) tile.tabIndex = tile === stop ? 0 : -1;
    for (const box of grid.querySelectorAll("input")) box.tabIndex = -1; // Space on the tile ticks it
  }
}

/** Redraw a place; the focus stays on the element with the same `data-at`. */
export function keepingFocus(place, render) {
  const at = place.contains(document.activeElement) ? document.activeElement.dataset.at : undefined;
  render();
  if (at !== undefined)
    [...place.querySelectorAll("[data-at]")]
      .find((element) => element.dataset.at === at)
      ?.focus({ preventScroll: true });
}
