// The images that are selected, by their ids, whatever view they were selected in.

import { address } from "./state.js";

// Characters of an address: some hundred ids. Mail and chat keep so long a link whole, and proxies take 8,000.
const LONGEST = 4_000;
// The address changes when nothing more was selected for so long: browsers refuse more than some changes a second.
const STILL = 250;

/** Whether ids are few enough to be in an address. */
export const fitsAddress = (ids) => ids.length < LONGEST && address({ selected: ids }).length <= LONGEST;

/** Begin with what the address says is selected, and have it say what is, as long as that fits. */
export function keepInAddress(selection, state) {
  let timer = 0;
  selection.replace(state.get("selected") ?? []);
  selection.subscribe(() => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      const { ids } = selection;
      state.set({ selected: fitsAddress(ids) ? ids : null }, { replace: true });
    }, STILL);
  });
}

export class Selection {
  #ids = new Set();
  #listeners = new Set();

  get size() {
    return this.#ids.size;
  }
  get ids() {
    return [...this.#ids];
  }
  has(id) {
    return this.#ids.has(id);
  }
  /** Add an id, or many. */
  add(ids) {
    for (const id of [ids].flat()) this.#ids.add(id);
    this.#tell();
  }
  /** Remove an id, or many. */
  remove(ids) {
    for (const id of [ids].flat()) this.#ids.delete(id);
    this.#tell();
  }
  toggle(id) {
    if (this.#ids.has(id)) this.remove(id);
    else this.add(id);
  }
  /** Select these and no others. */
  replace(ids) {
    this.#ids = new Set(ids);
    this.#tell();
  }
  clear() {
    this.replace([]);
  }
  /** Be told when it changed; returns an end. */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
  #tell() {
    for (const listener of this.#listeners) listener(this);
  }
}
