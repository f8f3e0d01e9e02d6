// What stands above the grid: what is shown and how it was found, the order, the size of tiles, the export.

import { asCommand, asPython } from "../detail/commands.js";
import { button, el } from "../dom.js";
import { exportButton } from "../exporting.js";
import { menuButton } from "../menu.js";
import { count, plural, seconds, shares } from "../words.js";

export const SIZES = { least: 88, most: 360, usual: 172 };

export class Toolbar {
  #app;
  #total = 0;
  #answer = null;
  #told = "";

  constructor(app) {
    this.#app = app;
    const { state } = app;
    this.counts = el("div", { class: "counts" });
    this.sort = menuButton({ class: "plain", icon: "sort", text: "Order" }, () => this.#orders());
    this.size = el("input", {
      type: "range",
      class: "size",
      min: SIZES.least,
      max: SIZES.most,
      step: 4,
      value: SIZES.usual,
      "aria-label": "Size of tiles",
      oninput: () => state.set({ size: Number(this.size.value) }, { replace: true }),
      ondblclick: () => state.set({ size: null }, { replace: true }),
    });
    this.out = exportButton(
      app,
      { class: "plain", label: "Export all of these", "data-tip-at": "left" },
      { count: () => this.#total, body: () => this.#export(), more: () => this.#copies() },
    );
    this.root = el("div", { class: "toolbar" }, this.counts, this.sort, this.size, this.out);
  }

  /** Tell what a listing shows; null where there is none. */
  update(listing, { only = false } = {}) {
    const { state, status, say } = this.#app;
    const query = this.#app.query();
    this.size.value = state.get("size") ?? SIZES.usual;
    this.sort.hidden = query !== null || only;
    this.sort.querySelector("span").textContent = state.get("sort")
      ? `By ${state.get("sort").replace(/^-(.*)/, "$1, descending")}`
      : "Order";
    if (!listing) return void this.counts.replaceChildren(el("h1", { class: "visually-hidden", text: "Images" }));
    this.#answer = listing.answer;
    // Of a ranking more may be found than can be scrolled to.
    this.#total = (only ? null : listing.answer?.total) ?? listing.total ?? 0;
    const all = status?.images ?? null;
    const filtered = all !== null && this.#total < all && !only;
    const among = filtered ? `${count(this.#total)} of ${plural(all, "image")}` : plural(this.#total, "image");
    if (only) {
      this.counts.replaceChildren(
        el("h1", { text: among }),
        el("span", { text: "that are selected" }),
        button({ text: "Show all", onclick: () => this.#app.showSelected(false) }),
      );
      return;
    }
    // A search that is on its way has not ranked what is still shown.
    const isRanked = query !== null && !!listing.answer?.explanation;
    if (!isRanked) this.counts.replaceChildren(el("h1", { text: among }));
    else
      this.counts.replaceChildren(
        el("h1", { text: among }),
        el("span", {}, "ranked by ", el("bdi", { text: this.#asked() })),
        this.#how(),
      );
    // How long it took is told to nobody who didn't ask.
    const told = isRanked ? `${among}, ranked by ${this.#asked()}` : among;
    if (told !== this.#told) say((this.#told = told));
  }

  #asked() {
    const { text, id, picture } = this.#app.query();
    const named =
      id !== null ? `likeness to ${id.slice(id.lastIndexOf("/") + 1)}` : picture !== null ? "your picture" : "";
    return [named, text && `“${text}”`].filter(Boolean).join(" with ");
  }

  #how() {
    const { state } = this.#app;
    const answer = this.#answer;
    const isExact = answer.exact;
    const isChosen = state.get("exact") === "1";
    const found = isExact ? "exact" : `recall ≥ ${answer.target_recall}`;
    return menuButton(
      { class: "how", text: `${seconds(answer.seconds)}, ${found}` },
      () => [
        el(
          "div",
          { class: "menu-head" },
          el("p", {
            text: isExact
              ? "Every vector was scored: no hit is missing."
              : `An index was asked, which finds ${answer.target_recall} of the true hits or more.`,
          }),
          el("p", { text: `Weight: ${shares(answer.image_weight)}. Snapshot ${answer.snapshot}.` }),
          answer.explanation.map((step) =>
            el("p", {
              text: `${step.way}: ${plural(step.vectors, "vector")} in ${plural(step.segments, "segment")}${step.note ? ` (${step.note})` : ""}`,
            }),
          ),
        ),
        // Where every vector was scored anyway there is nothing to choose.
        ...(isExact && !isChosen
          ? []
          : [
              "-",
              {
                text: "Score every vector",
                checked: isChosen,
                onclick: () => state.set({ exact: isChosen ? null : "1" }),
              },
            ]),
      ],
      { align: "left", label: "How it was found" },
    );
  }

  #orders() {
    const { state, status } = this.#app;
    const sort = state.get("sort");
    const names = [
      "image_id",
      ...(status?.columns ?? []).filter((column) => !column.type.startsWith("list")).map((column) => column.name),
      "width",
      "height",
    ];
    return names.flatMap((name) =>
      [
        ["ascending", name],
        ["descending", `-${name}`],
      ].map(([hint, value]) => ({
        text: name,
        hint,
        checked: value === (sort ?? "image_id"),
        onclick: () => state.set({ sort: value === "image_id" ? null : value }),
      })),
    );
  }

  #copies() {
    const { status, copy } = this.#app;
    const query = this.#app.query();
    const condition = this.#app.condition();
    return [
      "-",
      {
        text: "Copy as a command",
        hint: query ? "fpve search" : "fpve sql",
        onclick: () => copy(asCommand(status, query, condition)),
      },
      { text: "Copy as Python", hint: "fpve.open", onclick: () => copy(asPython(status, query, condition)) },
    ];
  }

  #export() {
    const { state } = this.#app;
    const { where, filters } = this.#app.conditions();
    if (this.#app.onlySelected()) return { ids: this.#app.selection.ids };
    return { ids: null, where, filters, sort: state.get("sort"), search: this.#app.query() };
  }
}
