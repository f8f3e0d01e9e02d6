// The card of an image that a pointer is at, on the map.

import { isAbort, pathOf } from "../api.js";
import { bdi, el } from "../dom.js";
import { fileName } from "../words.js";

// A pointer that crosses a hundred points asks for none of them.
const PAUSE = 90;
// Images whose texts are remembered.
const MOST = 300;

export class MapCard {
  #rows = new Map();
  #timer = 0;

  constructor(app) {
    this.app = app;
    this.channel = app.api.channel();
    this.picture = el("img", { alt: "" });
    this.picture.addEventListener("error", () => { this.picture.hidden = true; });
    this.caption = el("p", { class: "map-card-caption", dir: "auto" });
    this.value = el("p", { class: "map-card-value" });
    this.file = el("p", { class: "soft" });
    this.element = el("div", { class: "map-card", "aria-hidden": "true", hidden: true }, this.picture, el("div", {}, this.caption, this.value, this.file));
  }

  /** Show an image. `value`: {column, text, tone} of what it is coloured by, or null. */
  show(id, value, hasPicture) {
    this.id = id;
    clearTimeout(this.#timer);
    this.element.hidden = false;
    this.picture.hidden = !hasPicture;
    if (hasPicture) this.picture.src = pathOf("thumbnails", id);
    this.file.replaceChildren(bdi(fileName(id)));
    this.value.hidden = !value;
    if (value) this.value.replaceChildren(el("i", { style: { background: value.tone } }), el("span", { text: `${value.column} ` }), bdi(value.text));
    const row = this.#rows.get(id);
    this.#tell(row);
    if (!row) this.#timer = setTimeout(() => this.#ask(id), PAUSE);
  }

  hide() {
    this.id = null;
    clearTimeout(this.#timer);
    this.element.hidden = true;
  }

  /** Forget what images were called: they are of another snapshot. */
  forget() {
    this.#rows.clear();
  }

  #tell(row) {
    this.caption.textContent = row?.prefix ?? "";
    this.caption.hidden = !row?.prefix;
  }

  async #ask(id) {
    try {
      const row = await this.channel.get(pathOf("images", id));
      this.#rows.set(id, row);
      if (this.#rows.size > MOST) this.#rows.delete(this.#rows.keys().next().value);
      if (this.id === id) this.#tell(row);
    } catch (error) {
      // What it is called is there; that its text is not, is no reason to disturb.
      if (!isAbort(error)) this.#tell(null);
    }
  }
}
