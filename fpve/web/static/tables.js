// A table of rows that come in pages, with a line that opens below each row for what has no column.

import { button, el, icon } from "./dom.js";

export class Table {
  #rows = 0;

  /**
   * Columns are {title, cell(row) → text, element or null, number: to the right, wide: takes what is left}.
   * `more(row)` makes what opens below a row; without it no row opens.
   */
  constructor({ caption, columns, more = null }) {
    this.columns = columns;
    this.more = more;
    this.body = el("tbody");
    this.element = el("div", { class: "table-scroll", role: "region", "aria-label": caption, tabindex: 0 },
      el("table", { class: ["table", more && "opens"] }, el("caption", { class: "visually-hidden", text: caption }),
        el("thead", {}, el("tr", {}, more && el("th", {}, el("span", { class: "visually-hidden", text: "All columns" })),
          columns.map((column) => el("th", { scope: "col", class: classOf(column), text: column.title })))), this.body));
  }

  clear() {
    this.#rows = 0;
    this.body.replaceChildren();
  }

  append(rows) {
    for (const row of rows) this.body.append(...this.#lines(row));
  }

  #lines(row) {
    const cells = this.columns.map((column) => el("td", { class: classOf(column) }, column.cell(row)));
    if (!this.more) return [el("tr", {}, cells)];
    const id = `more-${this.element.ariaLabel.replace(/\W+/g, "-")}-${this.#rows++}`;
    const below = el("tr", { class: "below", id, hidden: true }, el("td", { colspan: this.columns.length + 1 }));
    const press = () => {
      const isOpen = below.hidden;
      if (isOpen && !below.firstChild.firstChild) below.firstChild.append(this.more(row));
      below.hidden = !isOpen;
      opener.setAttribute("aria-expanded", String(isOpen));
    };
    const opener = button({ class: "plain opener", icon: "right", label: "All columns", "aria-expanded": "false", "aria-controls": id, onclick: press });
    opener.removeAttribute("data-tip");
    const line = el("tr", { class: "line", onclick: (event) => event.target.closest("button, a") || press() }, el("td", {}, opener), cells);
    return [line, below];
  }
}

const classOf = (column) => [column.number && "is-number", column.wide && "is-wide", column.lesser && "is-lesser"].filter(Boolean).join(" ") || null;

/** A value that is nothing, in a table. */
export const nothing = () => el("span", { class: "soft", text: "–" });

/** A mark with a word: what is right and wrong is not told by colour alone. */
export const mark = (text, isRight) => el("span", { class: ["mark", isRight ? "is-right" : "is-wrong"] }, icon(isRight ? "check" : "warning"), el("span", { text }));
