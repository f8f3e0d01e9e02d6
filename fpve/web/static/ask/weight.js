// The weight of the picture against the text: A of A cos_image + (1 - A) cos_prefix.
//
// The knob is at 1 - A, so that it moves towards the word that it gives more weight; each side has its share beside it.

import { button, el } from "../dom.js";
import { shares } from "../words.js";

const STEP = 0.05;

export class Weight {
  #app;
  // The weight of the last answer: what a query with one side was asked with.
  #used = null;

  constructor(app, root) {
    this.#app = app;
    this.slider = el("input", {
      type: "range",
      min: "0",
      max: "1",
      step: "0.01",
      id: "weight-slider",
      "aria-label": "Weight of the picture against the text",
      oninput: () => this.#moved(),
      onchange: () => this.#moved({ done: true }),
      ondblclick: () => this.reset(),
    });
    this.value = el("output", { class: "weight-value", for: "weight-slider" });
    this.rest = el("span", { class: "weight-rest" });
    this.reason = el("span", { class: "weight-reason" });
    this.notch = el("i", { class: "weight-notch", "aria-hidden": "true" });
    this.back = button({
      class: "plain weight-reset",
      icon: "reset",
      label: "Back to what is usual",
      onclick: () => this.reset(),
    });
    this.root = root;
    root.append(
      el(
        "div",
        { class: "weight-line" },
        el("span", { class: "weight-end is-image" }, "picture ", this.value),
        el(
          "span",
          { class: "weight-track" },
          this.slider,
          this.notch,
          [0, 0.25, 0.5, 0.75, 1].map((at) =>
            el("i", { class: "weight-tick", style: { "--at": at }, "aria-hidden": "true" }),
          ),
        ),
        el("span", { class: "weight-end is-prefix" }, this.rest, " text"),
        this.back,
      ),
      this.reason,
    );
    this.update();
  }

  /** A query was answered, with this weight; null: nothing was asked. */
  answered(weight) {
    this.#used = weight;
    this.update();
  }

  /** What is asked, or the store's default, is known or another. */
  update() {
    const { state, status } = this.#app;
    const given = state.get("weight");
    const why = this.#whyNot();
    const usual = this.#app.usualWeight();
    const weight = (why === null ? given : this.#used) ?? usual;
    const enabled = why === null;
    const isUsed = this.#app.showsHits() || this.#app.isWeighed();
    this.root.classList.toggle("is-needless", !isUsed || status?.has_prefixes === false);
    this.slider.disabled = !enabled;
    this.root.classList.toggle("is-off", !enabled);
    this.root.classList.toggle("is-asking", this.#app.query() !== null || this.#app.isWeighed());
    this.reason.textContent = why ?? "";
    this.reason.title = why ?? "";
    this.reason.hidden = enabled;
    if (document.activeElement !== this.slider || Number(this.slider.value) !== 1 - weight)
      this.slider.value = 1 - weight;
    this.#say(weight);
    this.back.hidden = !enabled || given === null || given === usual;
    this.notch.hidden = !status;
    this.notch.style.setProperty("--at", 1 - usual);
  }

  /** Give the picture more (1) or less (-1) weight. */
  nudge(direction) {
    if (this.slider.disabled) return;
    this.slider.value = Math.max(0, Math.min(1, Number(this.slider.value) - direction * STEP));
    this.#moved({ done: true });
    this.#app.say(this.slider.getAttribute("aria-valuetext"));
  }

  reset() {
    if (!this.slider.disabled) this.#app.state.set({ weight: null }, { replace: true });
  }

  #moved({ done = false } = {}) {
    const weight = Math.round(100 * (1 - this.slider.value)) / 100;
    this.#say(weight);
    // Where there is no query a view is computed anew, which takes longer than a hand's movement.
    if (done || !this.#app.isWeighed()) this.#app.state.set({ weight }, { replace: true });
  }

  #say(weight) {
    const picture = Math.round(100 * weight);
    this.value.textContent = `${picture} %`;
    this.rest.textContent = `${100 - picture} %`;
    this.slider.title = `A = ${weight.toFixed(2)}: of the score ${shares(weight)}`;
    this.slider.setAttribute("aria-valuetext", `picture ${picture} percent, text ${100 - picture} percent`);
  }

  /** Why there is nothing to weigh, or null. */
  #whyNot() {
    const { state, status } = this.#app;
    const query = this.#app.query();
    // It is not shown then.
    if (status && !status.has_prefixes) return "";
    if (this.#app.isWeighed()) return null;
    if (query === null) return "Weighs a picture with a text, and “more like this”.";
    if (state.get("like") !== null) return null;
    if (query.picture === null) return "Add a picture to the text to weigh them.";
    return query.text === null ? "Add a text to the picture to weigh them." : null;
  }
}
