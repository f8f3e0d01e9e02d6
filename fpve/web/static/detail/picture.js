// The picture itself, as large as there is room, and as large as it is when it is clicked.

import { pathOf, withQuery } from "../api.js";
import { button, el } from "../dom.js";
import { groundOf } from "../ground.js";
import { nameOf } from "../words.js";

// Sides that are asked for: what a panel shows on a fine screen, and the most that the server makes.
const SIDE = 1024;
const WHOLE = 2048;

/** The picture of a row: the thumbnail at once, the original when it is there. `details` is null until known. */
export class Picture {
  #row = null;
  #zoom = null;

  constructor() {
    this.small = el("img", { class: "picture-small", alt: "", "aria-hidden": "true", onload: () => this.#stand() });
    this.large = el("img", { class: "picture-large", alt: "", decoding: "async", hidden: true });
    this.note = el("p", { class: "picture-note", hidden: true });
    this.button = el(
      "button",
      { type: "button", class: "picture-button", "aria-label": "Enlarge", onclick: () => this.#enlarge() },
      this.small,
      this.large,
    );
    this.root = el("figure", { class: "picture" }, this.button, this.note);
    this.large.addEventListener("load", () => {
      this.large.hidden = false;
    });
    this.large.addEventListener("error", () => this.#missing());
  }

  show(row, hasPicture = true) {
    const isMissing = hasPicture && !this.note.hidden;
    if (row.image_id === this.#row?.image_id && row.thumbnail === this.#row.thumbnail && !isMissing) return;
    this.#row = row;
    this.note.hidden = true;
    this.large.hidden = true;
    this.large.alt = this.button.title = nameOf(row);
    this.root.style.setProperty("--ratio", row.width && row.height ? row.width / row.height : 1);
    this.small.hidden = !row.thumbnail;
    if (row.thumbnail) this.small.src = row.thumbnail;
    else this.#stand();
    if (hasPicture) this.large.src = withQuery(pathOf("pictures", row.image_id), { side: SIDE });
    else this.#missing();
  }

  #stand() {
    const ground = this.small.hidden || !this.small.naturalWidth ? "" : groundOf(this.small);
    this.button.classList.toggle("is-paper", ground === "paper");
    this.button.style.setProperty("--even", ground && ground !== "paper" ? `rgb(${ground})` : "");
  }

  #missing() {
    this.large.hidden = true;
    this.large.removeAttribute("src");
    this.note.hidden = false;
    this.note.textContent = this.#row.thumbnail
      ? "The original is not at hand: this is its thumbnail."
      : "Neither the original nor a thumbnail is at hand.";
    this.small.alt = this.#row.thumbnail ? nameOf(this.#row) : "";
  }

  #enlarge() {
    const url = this.large.hidden
      ? this.#row.thumbnail
      : withQuery(pathOf("pictures", this.#row.image_id), { side: WHOLE });
    if (!url) return;
    this.#zoom ??= new Zoom();
    this.#zoom.open(url, nameOf(this.#row), this.large.hidden ? null : this.large.currentSrc);
  }
}

class Zoom {
  constructor() {
    this.image = el("img", { alt: "", draggable: "false" });
    this.pane = el("div", { class: "zoom-pane", tabindex: "0", onclick: (event) => this.#clicked(event) }, this.image);
    this.dialog = el(
      "dialog",
      { class: "zoom", "aria-label": "Picture" },
      this.pane,
      button({
        class: "plain zoom-close",
        icon: "cross",
        label: "Close",
        "data-tip-at": "left",
        onclick: () => this.dialog.close(),
      }),
    );
    document.body.append(this.dialog);
  }

  open(url, name, meanwhile) {
    this.pane.classList.remove("is-actual");
    this.image.src = meanwhile ?? url;
    this.image.alt = name;
    if (meanwhile) {
      const whole = new Image();
      whole.onload = () => {
        this.image.src = url;
      };
      whole.src = url;
    }
    this.dialog.showModal();
  }

  // A click on the picture goes to its pixels there, and back; one beside it closes.
  #clicked(event) {
    if (event.target !== this.image) return this.dialog.close();
    const before = this.image.getBoundingClientRect();
    const x = (event.clientX - before.left) / before.width;
    const y = (event.clientY - before.top) / before.height;
    const isActual = this.pane.classList.toggle("is-actual");
    const { naturalWidth } = this.image;
    // A picture that is smaller than the screen is shown at twice what fits, rather than smaller.
    this.image.style.width = isActual ? `${Math.max(naturalWidth, 2 * before.width)}px` : "";
    if (!isActual) return;
    const { width, height } = this.image.getBoundingClientRect();
    this.pane.scrollTo(x * width - this.pane.clientWidth / 2, y * height - this.pane.clientHeight / 2);
  }
}
