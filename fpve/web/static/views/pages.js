// Rows of an SQL query in a table, a page at a time while it is scrolled.

import { isAbort } from "../api.js";
import { Tail } from "./tail.js";

export class SqlPages {
  #shown = 0;
  #controller = null;

  /**
   * `place` is where the table is shown. `query(size, offset)` is the text of the query for a page; `begun(rows)` is
   * told of the first one, and says whether there is a table to show.
   */
  constructor(app, place, { table, size, query, begun }) {
    Object.assign(this, { app, place, table, size, query, begun });
    this.tail = new Tail(() => this.#more());
    this.isKnown = false;
    this.isLast = false; // A full page may be followed by another one.
  }

  /** Rows of another query, as objects, for as long as this page is wanted. */
  async rows(query) {
    const { columns, rows } = await this.app.api.post("/api/sql", { query, limit: 1000 }, { signal: this.#controller.signal });
    return rows.map((row) => Object.fromEntries(columns.map(({ name }, at) => [name, row[at]])));
  }

  show() {
    if (!this.isKnown) return this.load();
    // The next page may have been waited for when the view was left.
    this.#controller = new AbortController();
    if (this.table.element.isConnected) this.#follow();
  }

  leave() {
    this.#controller?.abort();
  }

  async load() {
    this.leave();
    this.#controller = new AbortController();
    this.tail.stop();
    try {
      const rows = await this.rows(this.query(this.size, 0));
      if (!await this.begun(rows)) return;
      this.isKnown = true;
      this.#shown = 0;
      this.table.clear();
      this.place.replaceChildren(this.table.element, this.tail.element);
      this.#append(rows);
    } catch (error) {
      if (isAbort(error)) return;
      this.app.notice(this.place, this.app.refusal(error, { title: "The table can't be read.", action: { text: "Try again", onclick: () => this.load() } }));
    }
  }

  #append(rows) {
    this.table.append(rows);
    this.#shown += rows.length;
    this.isLast = rows.length < this.size;
    this.#follow();
  }

  #follow() {
    this.tail.follow(this.isLast);
  }

  async #more() {
    try {
      this.#append(await this.rows(this.query(this.size, this.#shown)));
    } catch (error) {
      if (!isAbort(error)) throw error;
    }
  }
}

/** A view of rows that SQL answers: `build` fills its root, once, and returns its SqlPages. */
export function pagedView(name, title, build) {
  let pages = null;
  return {
    name,
    title,
    filtered: false,
    show(root, app) {
      pages ??= build(root, app);
      pages.show();
    },
    update(_, changed) {
      if (changed.has("snapshot")) pages.load();
      else if (changed.has("reached")) pages.show();
    },
    hide: () => pages.leave(),
  };
}
