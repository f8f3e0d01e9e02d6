// A column of single values: the frequent ones to tick, and a search among the others.

import { isAbort } from "../api.js";
import { button, el } from "../dom.js";
import { count, valueText } from "../words.js";
import { facetSection, valueLine } from "./facet.js";

// Values that are shown without asking; from how many on a search is worth its place.
const FEW = 7;
const SEARCHED = 12;

export class Values {
  #app;
  #answer = null;
  #chosen = [];
  #isWhole = false;
  #found = null;
  #channel;

  constructor(app, column, type, isOpen) {
    this.#app = app;
    this.column = column;
    this.type = type;
    this.#channel = app.api.channel();
    const { root, body, mark } = facetSection(column, isOpen, () => app.facets.set(column, null));
    [this.root, this.mark] = [root, mark];
    this.search = el("input", {
      type: "search",
      class: "input facet-search",
      placeholder: "Find a value",
      "aria-label": `Find a value of ${column}`,
      autocomplete: "off",
      hidden: true,
      oninput: () => this.#searched(),
      onkeydown: (event) => {
        if (event.key === "Escape" && this.search.value) {
          event.stopPropagation();
          event.preventDefault();
          this.search.value = "";
          this.#searched();
        }
      },
    });
    this.lines = el("div", { class: "values", role: "group", "aria-label": column });
    this.more = button({
      class: "link facet-more",
      text: "",
      hidden: true,
      onclick: () => {
        this.#isWhole = !this.#isWhole;
        this.#draw();
      },
    });
    body.append(this.search, this.lines, this.more);
  }

  /** The counts are known, or others. */
  update(answer, chosen) {
    this.#answer = answer;
    this.search.hidden = answer.distinct <= SEARCHED;
    this.choose(chosen);
  }

  /** These values are ticked: a list, null in it for no value; or null for none. */
  choose(chosen) {
    this.#chosen = Array.isArray(chosen) ? chosen : [];
    this.mark(
      !this.#chosen.length
        ? null
        : this.#chosen.length === 1
          ? valueText(this.#chosen[0])
          : String(this.#chosen.length),
    );
    if (this.#answer) this.#draw();
  }

  #draw() {
    const { values, distinct, missing } = this.#answer;
    const sought = this.search.value.trim().toLowerCase();
    const most = Math.max(1, missing, ...values.map((one) => one.count));
    const matching = sought
      ? (this.#found ?? values.filter((one) => String(one.value).toLowerCase().includes(sought)))
      : values;
    const isChosen = (value) => this.#chosen.includes(value);
    const shown = this.#isWhole || sought ? matching : matching.filter((one, at) => at < FEW || isChosen(one.value));
    // The box that has the focus keeps it, though the lines are made anew.
    const focused = [...this.lines.querySelectorAll("input")].indexOf(document.activeElement);
    this.lines.replaceChildren(
      ...shown.map((one) => this.#line(valueText(one.value), one.value, one.count, most)),
      ...(missing && !sought ? [this.#line("no value", null, missing, most)] : []),
      ...(!shown.length && (sought || !missing)
        ? [el("p", { class: "soft facet-none", text: sought ? "No such value." : "Nothing is left." })]
        : []),
    );
    if (focused >= 0) this.lines.querySelectorAll("input")[focused]?.focus();
    const hidden = matching.length - shown.length;
    this.more.hidden = !!sought || values.length <= FEW || (!hidden && !this.#isWhole);
    this.more.firstChild.textContent = this.#isWhole
      ? "Fewer"
      : distinct > values.length
        ? `${count(values.length)} most frequent of ${count(distinct)}`
        : `All ${count(distinct)}`;
  }

  #line(label, value, number, most) {
    return valueLine({
      label,
      number,
      share: number / most,
      isChosen: this.#chosen.includes(value),
      isNone: value === null,
      onchange: () => this.#app.facets.toggle(this.column, value),
    });
  }

  async #searched() {
    this.#found = null;
    this.#draw();
    const sought = this.search.value.trim();
    const { distinct, values } = this.#answer;
    if (!sought || distinct <= values.length || this.type !== "string") return;
    // The answer holds the most frequent values only: the others are looked for in the store.
    const name = `"${this.column.replaceAll('"', '""')}"`;
    const text = sought.replaceAll("'", "''");
    try {
      const { rows } = await this.#channel.post("/api/sql", {
        limit: 50,
        query: `SELECT ${name}, count(*) FROM images WHERE contains(lower(${name}), lower('${text}')) GROUP BY ALL ORDER BY 2 DESC, 1`,
      });
      this.#found = rows.map(([value, number]) => ({ value, count: number }));
      this.#draw();
    } catch (error) {
      if (!isAbort(error)) this.#app.toast(error.message, { kind: "error" });
    }
  }
}
