// One image in full, beside the view or over it.

import { isAbort, pathOf } from "../api.js";
import { button, el, find } from "../dom.js";
import { menuButton } from "../menu.js";
import { count, fileName } from "../words.js";
import { asCommand, asPython } from "./commands.js";
import { fileOf, metadataOf, prefixOf, scoresOf } from "./facts.js";
import { Picture } from "./picture.js";
import { Prediction } from "./prediction.js";

// As in css/frame.css: here the panel is the whole screen.
const whole = matchMedia("(max-width: 46rem)");

export class Detail {
  #app;
  #channel;
  #id = null;
  #details = null;
  #hit = null;

  constructor(app, root) {
    this.#app = app;
    this.root = root;
    this.#channel = app.api.channel();
    this.picture = new Picture();
    this.prediction = new Prediction(app);
    this.place = el("span", { class: "soft detail-place" });
    this.head = el("div");
    this.scores = el("section", { class: "detail-section", hidden: true });
    this.metadata = el("section", { class: "detail-section" });
    this.file = el("section", { class: "detail-section" });
    this.failure = el("div", { hidden: true });
    this.select = button({ class: "button", text: "Select", onclick: () => app.selection.toggle(this.#id) });
    this.close = button({
      class: "plain",
      icon: "cross",
      label: "Close",
      "data-tip-at": "left",
      onclick: () => app.closeImage(),
    });
    this.body = el(
      "div",
      { class: "detail-body" },
      this.picture.root,
      this.head,
      el(
        "div",
        { class: "detail-actions" },
        button({ class: "primary", icon: "like", text: "More like this", onclick: () => app.like(this.#id) }),
        this.select,
        menuButton({ class: "button", icon: "copy", label: "Copy as a command" }, () => this.#copies()),
      ),
      this.scores,
      this.prediction.root,
      this.metadata,
      this.file,
    );
    root.append(
      el(
        "div",
        { class: "detail-bar" },
        button({ class: "plain", icon: "left", label: "Previous image", onclick: () => this.step(-1) }),
        button({ class: "plain", icon: "right", label: "Next image", onclick: () => this.step(1) }),
        this.place,
        this.close,
      ),
      this.failure,
      this.body,
    );
    app.selection.subscribe(() => this.#tellSelected());
    addEventListener("keydown", (event) => this.#key(event));
    whole.addEventListener("change", () => this.#cover());
  }

  /** State, or the store, changed. */
  update(changed) {
    const id = this.#app.state.get("image");
    if (id !== this.#id) this.#open(id);
    else if (id !== null && (changed.has("snapshot") || changed.has("reached"))) this.#fetch(id);
    else if (id !== null && (changed.has("label") || changed.has("status") || changed.has("facets")))
      this.prediction.show(id);
    if (id !== null && changed.has("weight")) this.prediction.weigh();
    if (id !== null && ["q", "like", "picture", "rows"].some((name) => changed.has(name))) this.#score();
  }

  /** Go to the image before (-1) or after (1). */
  async step(direction) {
    const sequence = this.#app.sequence();
    if (!sequence || this.#id === null) return;
    const from = sequence.indexOf(this.#id);
    const id = from < 0 ? null : await sequence.at(from + direction);
    if (from < 0) return;
    if (!id) return this.#app.say(direction < 0 ? "This is the first one" : "This is the last one");
    this.#app.openImage(id, { among: this.#app.among, replace: true });
    this.#app.reveal(id);
  }

  #open(id) {
    const was = this.#id;
    this.#id = id;
    this.#details = null;
    this.root.hidden = id === null;
    this.#cover();
    if (id === null) {
      this.#channel.abort();
      this.prediction.show(null);
      // Whoever was in the panel is back in the grid.
      if (document.activeElement === document.body || this.root.contains(document.activeElement)) this.#app.enterGrid();
      return;
    }
    if (was === null) this.root.scrollTop = 0;
    const row = this.#app.rowOf(id);
    this.failure.hidden = true;
    this.body.hidden = false;
    if (row) this.#draw(row);
    this.#fetch(id);
    this.#tellSelected();
    this.#score();
    if (was === null && whole.matches) this.close.focus();
  }

  async #fetch(id) {
    try {
      const details = await this.#channel.get(pathOf("images", id));
      this.#details = details;
      this.#draw(details);
      this.prediction.show(id);
    } catch (error) {
      if (isAbort(error) || error.status === 0) return;
      this.body.hidden = true;
      this.failure.hidden = false;
      this.#app.notice(this.failure, {
        title: error.status === 404 ? "This image is not in the store" : "This image can't be shown",
        text: error.message,
        icon: "picture",
        error: true,
      });
    }
  }

  #draw(row) {
    this.picture.show(row, row.has_picture ?? true);
    this.head.replaceChildren(...prefixOf(row));
    this.metadata.replaceChildren(el("h3", { text: "Metadata" }), metadataOf(this.#app, row));
    this.file.replaceChildren(el("h3", { text: "File" }), fileOf(this.#app, row));
    this.root.setAttribute("aria-label", `Image: ${row.prefix?.trim() || fileName(row.path)}`);
    const sequence = this.#app.sequence();
    const at = sequence ? sequence.indexOf(row.image_id) : -1;
    this.place.textContent = at < 0 ? "" : `${count(at + 1)} of ${count(sequence.total())}`;
  }

  // The scores of what is open, if it is a hit. One that was opened by its address is looked for among the hits.
  async #score() {
    const query = this.#app.query();
    const id = this.#id;
    let hit = query && this.#app.rowOf(id);
    if (query && hit?.score === undefined && query.id !== id) {
      try {
        const answer = await this.#app.api.get("/api/search", {
          ...query,
          where: `image_id = '${id.replaceAll("'", "''")}'`,
          k: 1,
        });
        hit = answer.hits[0];
      } catch {
        hit = null; // The view says what is wrong with the query.
      }
    }
    if (id !== this.#id) return;
    this.scores.hidden = hit?.score === undefined;
    if (!this.scores.hidden) this.scores.replaceChildren(el("h3", { text: "Scores" }), scoresOf(hit));
  }

  #tellSelected() {
    if (this.#id === null) return;
    const isSelected = this.#app.selection.has(this.#id);
    this.select.setAttribute("aria-pressed", isSelected);
    this.select.firstChild.textContent = isSelected ? "Selected" : "Select";
  }

  #copies() {
    const { status, copy } = this.#app;
    const query = { text: null, id: this.#id, picture: null, image_weight: this.#app.weight() };
    const condition = this.#app.condition();
    return [
      {
        text: "More like this, as a command",
        hint: "fpve search",
        onclick: () => copy(asCommand(status, query, condition)),
      },
      { text: "More like this, in Python", hint: "fpve.open", onclick: () => copy(asPython(status, query, condition)) },
      { text: "Link to this image", hint: "URL", onclick: () => copy(location.href) },
    ];
  }

  // Where the panel is the whole screen, what is below it can't be reached.
  #cover() {
    const covers = this.#id !== null && whole.matches;
    for (const name of ["top", "tabs", "main", "sidebar"]) find(name).inert = covers;
  }

  #key(event) {
    if (this.#id === null || event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey)
      return;
    const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!direction || event.target.closest("input, select, textarea, [role=menu], [role=listbox], dialog, canvas"))
      return;
    event.preventDefault();
    this.step(direction);
  }
}
