// The images that are selected, by their ids, whatever view they were selected in.

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
