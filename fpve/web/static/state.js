// What the page shows, as its address says it: whatever is here survives a reload and can be sent to somebody.

const TEXT = { read: (text) => text, write: (value) => value };
const NUMBER = { read: (text) => (Number.isFinite(Number(text)) ? Number(text) : null), write: String };
const JSON_OBJECT = {
  read(text) {
    try {
      const value = JSON.parse(text);
      return value && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length ? value : null;
    } catch {
      return null; // An address that was cut short: better no filter than no page.
    }
  },
  write: (value) => JSON.stringify(value),
};
// Ids with commas between them; a comma or a backslash in one has a backslash before it.
const IDS = {
  read: (text) => text.match(/(?:\\.|[^\\,])+/gs)?.map((one) => one.replace(/\\(.)/gs, "$1")) ?? null,
  write: (ids) => ids.map((id) => id.replace(/[\\,]/g, "\\$&")).join(","),
};
const KINDS = { weight: NUMBER, size: NUMBER, filters: JSON_OBJECT, selected: IDS };
const DEFAULTS = { view: "gallery" };
// What makes other rows. With any of it one no longer looks at what is selected alone.
export const ROWS = ["q", "like", "picture", "where", "filters", "sort", "exact"];

export class State {
  #values = {};
  #listeners = new Set();

  constructor() {
    this.#values = read(location.search);
    addEventListener("popstate", () => {
      // What is selected stays, whatever is shown: to go back undoes no selecting.
      const found = read(location.search);
      const next = merged(found, { selected: this.#values.selected });
      if (address(next) !== address(found)) history.replaceState(null, "", address(next));
      this.#become(next, { moved: true });
    });
  }

  /** A value: text, a number (weight, size), an object (filters), ids (selected); null where there is none. */
  get(name) {
    return this.#values[name] ?? DEFAULTS[name] ?? null;
  }

  /** All that the address says, without defaults. */
  get all() {
    return { ...this.#values };
  }

  /**
   * Change values; null takes one away. Adds a step that "back" undoes; with `replace` it changes the present one, as
   * what moves under the hand should. Nothing happens where nothing differs.
   */
  set(changes, { replace = false } = {}) {
    const asks = ROWS.some((name) => name in changes) && !("only" in changes);
    const next = merged(this.#values, asks ? { ...changes, only: null } : changes);
    const url = address(next);
    if (url === address(this.#values)) return;
    history[replace ? "replaceState" : "pushState"](null, "", url);
    this.#become(next, { moved: false });
  }

  /** The address of the page with some values changed. */
  url(changes = {}) {
    return address(merged(this.#values, changes));
  }

  /** Be told, as `(changed: Set of names, {moved})`, when values changed; moved: by back or forward. Returns an end. */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #become(next, how) {
    const before = this.#values;
    const names = new Set([...Object.keys(before), ...Object.keys(next)]);
    const changed = new Set([...names].filter((name) => written(name, before[name]) !== written(name, next[name])));
    this.#values = next;
    if (changed.size) for (const listener of this.#listeners) listener(changed, how);
  }
}

function read(search) {
  const values = {};
  for (const [name, text] of new URLSearchParams(search)) {
    const value = text === "" ? null : (KINDS[name] ?? TEXT).read(text);
    if (value !== null) values[name] = value;
  }
  return values;
}

function merged(values, changes) {
  const next = { ...values, ...changes };
  for (const [name, value] of Object.entries(next)) {
    const empty = value === null || value === undefined || value === "" || value === DEFAULTS[name];
    if (empty || (typeof value === "object" && !Object.keys(value).length)) delete next[name];
  }
  return next;
}

const written = (name, value) => (value === undefined ? undefined : (KINDS[name] ?? TEXT).write(value));

/** The address of a page with these values. */
export function address(values) {
  const params = new URLSearchParams(Object.entries(values).map(([name, value]) => [name, written(name, value)]));
  // What is legible and needs no escape in a query is left as it is: people read and edit these.
  const text = params.toString().replace(/%2F/g, "/").replace(/%3A/g, ":").replace(/%2C/g, ",");
  return text ? `?${text}` : location.pathname;
}
