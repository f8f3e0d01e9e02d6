// What one could search for: texts that the store itself has, below the empty field while it has the focus.

import { el, icon } from "../dom.js";

// A line of them on a screen, two on a phone; longer texts are sentences that nobody would type.
const MOST = 4;
const LONGEST = 32;
// In the order of a hash: another store has others, and the same store the same.
const QUERY = `SELECT DISTINCT prefix FROM images WHERE length(prefix) BETWEEN 4 AND ${LONGEST} ORDER BY hash(prefix) LIMIT ${MOST}`;

export class Examples {
  #app;
  #asked = null;

  /** `onchoose(text)` is told what is to be searched for; `onleave(down)` that the keyboard leaves, upwards or down. */
  constructor(app, { onchoose, onleave }) {
    this.#app = app;
    this.onchoose = onchoose;
    this.onleave = onleave;
    this.list = el("div", { class: "chips", role: "group", "aria-label": "Examples" });
    this.head = el("div", { class: "examples-head" }, el("span", { text: "Try" }), this.list);
    const line = (symbol, text) => el("p", {}, icon(symbol), el("span", { text }));
    this.like = line("like", "");
    this.element = el(
      "div",
      {
        class: "examples",
        hidden: true,
        // The field keeps the focus, and this its place, until something is chosen.
        onmousedown: (event) => event.preventDefault(),
        onkeydown: (event) => this.#key(event),
      },
      this.head,
      line("picture", "A picture can be dropped anywhere, pasted, or chosen."),
      this.like,
    );
  }

  get isOpen() {
    return !this.element.hidden;
  }

  show(isWanted) {
    this.element.hidden = !isWanted;
    if (isWanted) this.#ask();
  }

  /** Give the focus to the first one; whether there is one. */
  enter() {
    this.list.firstChild?.focus();
    return this.isOpen && !!this.list.firstChild;
  }

  async #ask() {
    const { api, status } = this.#app;
    if (!status || this.#asked === status.snapshot) return;
    this.#asked = status.snapshot;
    const weighs = status.has_prefixes ? "; the slider then weighs picture against text" : "";
    this.like.lastChild.textContent = `“More like this” on an image finds its like${weighs}.`;
    this.head.hidden = !status.has_prefixes || !status.encoders.text;
    if (this.head.hidden) return;
    try {
      const { rows } = await api.post("/api/sql", { query: QUERY });
      const texts = rows.map(([prefix]) => prefix.trim().replace(/\.$/, ""));
      this.list.replaceChildren(...texts.map((text) => this.#chip(text)));
      this.head.hidden = !texts.length;
    } catch {
      // They are a courtesy: what is searched for can be typed as well.
      this.#asked = null;
      this.head.hidden = true;
    }
  }

  #chip(text) {
    return el("button", {
      type: "button",
      class: "chip",
      tabindex: "-1",
      dir: "auto",
      text,
      onclick: () => this.onchoose(text),
    });
  }

  #key(event) {
    const chips = [...this.list.children];
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key !== "Escape" && !step) return;
    event.preventDefault();
    event.stopPropagation();
    const to = chips[chips.indexOf(document.activeElement) + (step ?? -chips.length)];
    if (to) to.focus();
    else this.onleave(step > 0);
  }
}
