// The rows of a grid, fetched in windows as they come into view, dropped when they have been far away for long.

import { isAbort } from "../api.js";

// A window is about two screens of tiles; more than two at once only keep the first from coming.
const WINDOW = 100;
const AT_ONCE = 2;
// Rows that are kept: 20,000 of about 1 kB. Who scrolls back further fetches again.
const KEPT = 200;

export class Listing {
  #windows = new Map();
  #asked = new Map();
  #wanted = [0, 0];
  #closed = false;

  /**
   * `fetchRows(offset, limit, signal)` resolves to {total, rows, answer}. `onrows(listing)` is called when rows came,
   * `onerror(error)` when they could not be had; then nothing is asked until `retry`.
   */
  constructor(fetchRows, { onrows = () => {}, onerror = () => {} } = {}) {
    this.fetchRows = fetchRows;
    this.onrows = onrows;
    this.onerror = onerror;
    this.total = null;
    this.answer = null;
    this.failed = null;
  }

  /** The row at an index, or null while it isn't there. */
  get(index) {
    return index < 0 ? null : (this.#windows.get(Math.floor(index / WINDOW))?.[index % WINDOW] ?? null);
  }

  /** The index of an image among the rows that are there, or -1. */
  indexOf(id) {
    for (const [number, rows] of this.#windows) {
      const at = rows.findIndex((row) => row.image_id === id);
      if (at >= 0) return number * WINDOW + at;
    }
    return -1;
  }

  /** The ids from one index to another, of rows that are there. */
  ids(first, last) {
    const found = [];
    for (let at = first; at <= last; at++) if (this.get(at)) found.push(this.get(at).image_id);
    return found;
  }

  /** Rows from `first` to `last` are in view: fetch what is missing, and give up what has gone by. */
  want(first, last) {
    const from = Math.floor(Math.max(0, first) / WINDOW);
    const to = Math.floor(Math.max(0, last) / WINDOW);
    this.#wanted = [from, to];
    for (const [number, controller] of this.#asked) if (number < from - 1 || number > to + 1) controller.abort();
    this.#fetchMissing();
  }

  /** Fetch the rows from `first` to `last`, and resolve when they are there. */
  async load(first, last) {
    const from = Math.floor(first / WINDOW);
    const to = Math.floor(last / WINDOW);
    for (let number = from; number <= to; number += AT_ONCE) {
      const some = Array.from({ length: Math.min(AT_ONCE, to - number + 1) }, (_, at) => this.#fetch(number + at));
      await Promise.all(some);
    }
  }

  /** After an error: ask again. */
  retry() {
    this.failed = null;
    this.#fetchMissing();
  }

  /** Nobody looks at it any more. */
  close() {
    this.#closed = true;
    for (const controller of this.#asked.values()) controller.abort();
  }

  #fetchMissing() {
    const [from, to] = this.#wanted;
    const most = this.total === null ? 0 : Math.floor(Math.max(0, this.total - 1) / WINDOW);
    for (let number = from; number <= Math.min(to, most) && this.#asked.size < AT_ONCE; number++) {
      if (this.failed || this.#closed) return;
      if (!this.#windows.has(number) && !this.#asked.has(number)) {
        this.#fetch(number)
          .then(
            () => this.onrows(this),
            (error) => {
              if (isAbort(error) || this.#closed) return;
              this.failed = error;
              this.onerror(error);
            },
          )
          .finally(() => this.#fetchMissing());
      }
    }
  }

  async #fetch(number) {
    if (this.#windows.has(number)) return;
    const controller = new AbortController();
    this.#asked.set(number, controller);
    try {
      const { total, rows, answer } = await this.fetchRows(number * WINDOW, WINDOW, controller.signal);
      this.answer ??= answer;
      // Fewer than were asked for: there are no more, whatever was said before.
      this.total =
        rows.length < WINDOW && number * WINDOW < total ? Math.min(total, number * WINDOW + rows.length) : total;
      this.#windows.set(number, rows);
      this.#forget();
    } finally {
      this.#asked.delete(number);
    }
  }

  #forget() {
    const [from, to] = this.#wanted;
    const far = (number) => Math.max(from - number, number - to);
    while (this.#windows.size > KEPT) {
      this.#windows.delete([...this.#windows.keys()].reduce((one, other) => (far(other) > far(one) ? other : one)));
    }
  }
}
