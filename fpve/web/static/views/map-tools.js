// The buttons at the corner of the map, and the keys that do the same.

import { button, el } from "../dom.js";

export class MapTools {
  /** `scatter()` is the map of the moment, or null; `take(ids, adds)` selects. */
  constructor(app, { scatter, take }) {
    this.app = app;
    this.scatter = scatter;
    const tool = (icon, label, key, onclick, given = {}) => button({ icon, label: `${label} (${key})`, "data-tip-at": "above", onclick, ...given });
    this.lasso = tool("lasso", "Lasso", "S", () => this.toggleLasso(), { "aria-pressed": "false" });
    this.seen = tool("seen", "Select what is in view", "V", (event) => this.takeSeen(event.altKey || event.ctrlKey || event.metaKey));
    this.pictures = tool("picture", "Pictures", "P", () => this.togglePictures(), { "aria-pressed": "true" });
    this.take = take;
    this.isLassoing = false;
    this.hasPictures = true;
    this.hint = el("p", { class: "map-hint", hidden: true }, "Draw around images to select them.", el("span", { text: " Alt adds to what is selected; Esc ends it." }));
    this.element = el("div", { class: "map-tools", hidden: true },
      this.hint,
      el("div", {}, this.lasso, this.seen),
      el("div", {}, this.pictures),
      el("div", {}, tool("minus", "Zoom out", "−", () => this.camera?.zoom(1 / 1.6)), tool("plus", "Zoom in", "+", () => this.camera?.zoom(1.6)),
        tool("whole", "Show all", "0", () => this.camera?.home(), { "data-tip-at": "above-left" })),
      el("p", { id: "map-keys", class: "visually-hidden", text: "Arrows move, plus and minus zoom, 0 shows all, Enter opens the image in the middle, V selects what is in view, S draws a lasso, P hides pictures." }));
  }

  get camera() {
    return this.scatter()?.camera;
  }

  /** There is another map: it takes over how this is set. */
  update() {
    const scatter = this.scatter();
    scatter.lasso.isOn = this.isLassoing;
    scatter.plot.pictures = this.hasPictures;
    scatter.canvas.classList.toggle("is-lassoing", this.isLassoing);
    scatter.canvas.addEventListener("keydown", (event) => this.press(event));
    this.pictures.parentElement.hidden = !scatter.plot.hasPicture(0) && !scatter.ids.some((_, i) => scatter.plot.hasPicture(i));
    this.element.hidden = false;
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = {
      s: () => this.toggleLasso(), v: () => this.takeSeen(event.shiftKey), p: () => this.togglePictures(),
      enter: () => { const i = this.camera.middle(); if (i >= 0) this.app.openImage(this.scatter().ids[i]); },
      escape: this.isLassoing ? () => this.toggleLasso() : null,
    };
    const act = keys[event.key.toLowerCase()];
    if (act) act();
    else if (!this.camera.press(event.key)) return;
    event.preventDefault();
  }

  toggleLasso() {
    this.isLassoing = !this.isLassoing;
    this.lasso.setAttribute("aria-pressed", String(this.isLassoing));
    this.hint.hidden = !this.isLassoing;
    this.scatter().lasso.isOn = this.isLassoing;
    this.scatter().canvas.classList.toggle("is-lassoing", this.isLassoing);
  }

  togglePictures() {
    this.hasPictures = !this.hasPictures;
    this.pictures.setAttribute("aria-pressed", String(this.hasPictures));
    this.scatter().plot.pictures = this.hasPictures;
    this.camera.redraw();
  }

  takeSeen(adds) {
    const { width, height } = this.scatter().plot;
    this.take(this.scatter().where((x, y) => x >= 0 && y >= 0 && x <= width && y <= height), adds);
  }
}
