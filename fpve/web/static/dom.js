// Elements, made without markup: what comes from a store is only ever text.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. `given` holds attributes; but `text` is its text, `class` its classes (false ones are skipped), `style`
 * an object of CSS properties, custom ones included, `data` of data attributes, and `onclick` and the like are
 * listeners. true is an empty attribute; false, null and undefined are none. Children may be nested lists, with nulls.
 */
export function el(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") made.textContent = value;
    else if (name === "class") made.className = [value].flat().filter(Boolean).join(" ");
    else if (name === "style") for (const [key, one] of Object.entries(value)) made.style.setProperty(key, one);
    else if (name === "data") Object.assign(made.dataset, value);
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** A symbol of index.html, for the eye only. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** An SVG element with attributes, for drawings that are made of data. */
export function svg(tag, given = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(given)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** A button: of an icon (then `label` is what it is called), of a text, or of both. */
export function button({ icon: symbol, label, text, ...given }) {
  return el(
    "button",
    { type: "button", "aria-label": text ? null : label, "data-tip": text ? null : label, ...given },
    symbol && icon(symbol),
    text && el("span", { text }),
  );
}

/** Text that may run in either direction, kept from turning what is beside it. */
export const bdi = (text, given = {}) => el("bdi", { ...given, text });

export const find = (id) => document.getElementById(id);
