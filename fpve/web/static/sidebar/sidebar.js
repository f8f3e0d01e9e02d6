// The filters: a condition in SQL, and for each column its values, or their spread, with what is left of them.

import { isAbort } from "../api.js";
import { button, el } from "../dom.js";
import { Condition } from "./condition.js";
import { Spread } from "./spread.js";
import { Values } from "./values.js";

// What of the address, and of the store, makes other counts.
const COUNTS = ["where", "filters", "status", "snapshot", "reached", "view"];
// So many columns are open at first: as many as a screen shows.
const OPEN = 4;

export class Sidebar {
  #app;
  #channel;
  #facets = new Map();
  #asked = null;
  /** What filters and the WHERE box come to, as SQL; and the columns that can be filtered by, null until known. */
  combined = null;
  columns = null;

  constructor(app, root) {
    this.#app = app;
    this.#channel = app.api.channel();
    this.condition = new Condition(app);
    this.clear = button({ class: "link", text: "Clear all", hidden: true, onclick: () => app.facets.clear() });
    this.list = el(
      "div",
      { class: "facets" },
      Array.from({ length: 3 }, () => el("div", { class: "facet-waiting" })),
    );
    this.failure = el("p", { class: "field-error", role: "alert", hidden: true });
    root.append(
      el(
        "div",
        { class: "sidebar-head" },
        el("h2", { text: "Filters" }),
        this.clear,
        button({
          class: "plain only-sheet",
          icon: "cross",
          label: "Close the filters",
          onclick: () => app.toggleFilters(),
        }),
      ),
      this.condition.root,
      this.failure,
      this.list,
    );
  }

  /** State, or the store, changed. */
  update(changed) {
    const { state } = this.#app;
    this.clear.hidden = !state.get("filters") && !state.get("where");
    if (changed.has("where")) this.condition.update();
    if (!this.#app.status || !COUNTS.some((name) => changed.has(name))) return;
    this.#count(changed.has("snapshot") || changed.has("reached"));
  }

  async #count(isStale) {
    const conditions = this.#app.conditions();
    const asked = JSON.stringify(conditions);
    if (!isStale && asked === this.#asked) return;
    this.#asked = asked;
    // What was just ticked is shown as ticked at once; the counts follow.
    for (const facet of this.#facets.values()) facet.choose(conditions.filters?.[facet.column] ?? null);
    this.list.setAttribute("aria-busy", "true");
    try {
      const { facets, condition } = await this.#ask(conditions);
      this.list.removeAttribute("aria-busy");
      this.failure.hidden = true;
      this.condition.combined((this.combined = condition));
      this.#show(facets, conditions.filters ?? {});
      this.columns = facets.map((facet) => facet.column);
      this.#app.counted();
    } catch (error) {
      if (isAbort(error)) return;
      this.#asked = null;
      this.list.removeAttribute("aria-busy");
      this.failure.hidden = !error.status;
      this.failure.textContent = error.message;
      if (error.status && !this.#facets.size) this.list.replaceChildren();
    }
  }

  /** Counts under all conditions; where one can't be, under the others: the box says why, or else the view does. */
  async #ask(conditions) {
    try {
      return await this.#channel.get("/api/facets", conditions);
    } catch (error) {
      const [wrong] = (error.status === 400 && /^(where|filters)(?=: )/.exec(error.message)) || [];
      if (!wrong || !conditions[wrong]) throw error;
      if (wrong === "where") this.condition.refuse(error.message);
      return { ...(await this.#ask({ ...conditions, [wrong]: null })), condition: null };
    }
  }

  #show(answers, filters) {
    const names = answers.map((answer) => `${answer.kind} ${answer.column}`);
    if (this.columns === null || names.join("\n") !== [...this.#facets.keys()].join("\n")) {
      this.#facets = new Map(
        answers.map((answer, at) => {
          const kept = this.#facets.get(names[at]);
          return [
            names[at],
            kept ?? new (answer.kind === "range" ? Spread : Values)(this.#app, answer.column, answer.type, at < OPEN),
          ];
        }),
      );
      this.list.replaceChildren(...[...this.#facets.values()].map((facet) => facet.root));
      if (!answers.length)
        this.list.replaceChildren(
          el("p", { class: "soft facet-none", text: "There is no column to filter by: metadata brings columns." }),
        );
    }
    answers.forEach((answer, at) => this.#facets.get(names[at]).update(answer, filters[answer.column] ?? null));
  }
}
