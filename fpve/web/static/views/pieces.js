// A picture of a list that is no grid: its tile, and beside the tile a box to select it by.

import { el, icon } from "../dom.js";
import { nameOf } from "../words.js";

/** Pictures of a view, whose boxes follow the selection. */
export class Pieces {
  constructor(app, root) {
    this.app = app;
    this.root = root;
    app.selection.subscribe(() => this.mark());
  }

  /** A picture with its box. `given` is of the tile. */
  make(row, given = {}) {
    const { selection } = this.app;
    const box = el("button", {
      type: "button", class: "pick", role: "checkbox", "aria-label": `Select ${nameOf(row)}`, "aria-checked": String(selection.has(row.image_id)),
      data: { pick: row.image_id }, onclick: () => selection.toggle(row.image_id),
    }, icon("check"));
    return el("div", { class: ["piece", selection.has(row.image_id) && "is-selected"] }, this.app.tile(row, given), box);
  }

  mark() {
    for (const box of this.root.querySelectorAll("[data-pick]")) {
      const isSelected = this.app.selection.has(box.dataset.pick);
      if (box.ariaChecked === String(isSelected)) continue;
      box.setAttribute("aria-checked", String(isSelected));
      box.parentElement.classList.toggle("is-selected", isSelected);
    }
  }
}
