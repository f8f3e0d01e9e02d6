// A column of numbers or times: how they spread, and two handles to choose a range with.

import { el } from "../dom.js";
import { count } from "../words.js";
import { facetSection, valueLine } from "./facet.js";

// Steps of a handle: finer than a pixel of the histogram is for the fields below it.
const STEPS = 200;

export class Spread {
  #app;
  #answer = null;
  #chosen = null;

  constructor(app, column, type, isOpen) {
    this.#app = app;
    this.column = column;
    this.kind = /timestamp/.test(type) ? "time" : /date/.test(type) ? "day" : /int/.test(type) ? "integer" : "number";
    const { root, body, mark } = facetSection(column, isOpen, () => app.facets.set(column, null));
    [this.root, this.mark] = [root, mark];
    this.bars = el("div", { class: "bins", "aria-hidden": "true" });
    this.handles = [0, 1].map((end) =>
      el("input", {
        type: "range",
        class: "handle",
        min: 0,
        max: STEPS,
        "aria-label": `${end ? "Highest" : "Lowest"} ${column}`,
        oninput: () => this.#moved(end),
        onchange: () => this.#apply(),
      }),
    );
    this.fields = [0, 1].map((end) =>
      el("input", {
        class: "input bound",
        inputmode: this.#isNumber ? "decimal" : "text",
        "aria-label": `${end ? "To" : "From"}, of ${column}`,
        onchange: () => this.#typed(end),
        onkeydown: (event) => event.key === "Enter" && event.target.blur(),
      }),
    );
    this.none = el("div", { class: "values" });
    body.append(
      el("div", { class: "spread" }, this.bars, el("div", { class: "handles" }, this.handles)),
      el("div", { class: "bounds" }, this.fields[0], el("span", { text: "to" }), this.fields[1]),
      this.none,
    );
  }

  get #isNumber() {
    return this.kind === "number" || this.kind === "integer";
  }

  /** The counts are known, or others. */
  update(answer, chosen) {
    this.#answer = answer;
    const most = Math.max(1, ...answer.bins.map((bin) => bin.count));
    this.bars.replaceChildren(
      ...answer.bins.map((bin) => {
        const bar = el("i", { title: `${this.#text(bin.from)} to ${this.#text(bin.to)}: ${count(bin.count)}` });
        // The root of the share: a bin of a few among thousands is seen as well.
        bar.style.height = bin.count ? `${Math.max(6, 100 * Math.sqrt(bin.count / most))}%` : "0";
        return bar;
      }),
    );
    this.root.classList.toggle("is-flat", answer.min === null || answer.min === answer.max);
    this.choose(chosen);
  }

  /** What is chosen: {min, max}, [null] for no value, or null. */
  choose(chosen) {
    this.#chosen = chosen;
    if (!this.#answer) return;
    const isRange = chosen && !Array.isArray(chosen);
    const low = isRange ? (chosen.min ?? null) : null;
    const high = isRange ? (chosen.max ?? null) : null;
    this.mark(
      Array.isArray(chosen)
        ? "no value"
        : isRange
          ? `${low === null ? "" : this.#text(low)}…${high === null ? "" : this.#text(high)}`
          : null,
    );
    this.handles[0].value = low === null ? 0 : Math.round(STEPS * this.#share(low));
    this.handles[1].value = high === null ? STEPS : Math.round(STEPS * this.#share(high));
    this.fields[0].value = this.#text(low ?? this.#answer.min);
    this.fields[1].value = this.#text(high ?? this.#answer.max);
    this.#paint();
    const { missing } = this.#answer;
    const isNone = Array.isArray(chosen);
    this.none.replaceChildren(
      ...(missing || isNone
        ? [
            valueLine({
              label: "no value",
              number: missing,
              share: 0,
              isChosen: isNone,
              isNone: true,
              onchange: () => this.#app.facets.set(this.column, isNone ? null : [null]),
            }),
          ]
        : []),
    );
  }

  #moved(end) {
    const [low, high] = this.handles.map((handle) => Number(handle.value));
    // Handles push against each other, and don't pass.
    if (low > high) this.handles[end].value = end ? low : high;
    this.fields[end].value = this.#text(this.#at(Number(this.handles[end].value)));
    this.#paint();
  }

  #apply() {
    const [low, high] = this.handles.map((handle) => Number(handle.value));
    const range = {};
    // A handle at its end bounds nothing: values to come may lie beyond.
    if (low > 0) range.min = this.#at(low);
    if (high < STEPS) range.max = this.#at(high);
    this.#app.facets.set(this.column, Object.keys(range).length ? range : null);
  }

  #typed(end) {
    const range = { ...(this.#chosen && !Array.isArray(this.#chosen) ? this.#chosen : {}) };
    const name = end ? "max" : "min";
    const text = this.fields[end].value.trim();
    const value = text === "" ? null : this.#isNumber ? Number(text) : text;
    if (value === null || value === this.#answer[name]) delete range[name];
    else if (this.#isNumber ? Number.isFinite(value) : !Number.isNaN(Date.parse(value))) range[name] = value;
    else return this.choose(this.#chosen);
    this.#app.facets.set(this.column, Object.keys(range).length ? range : null);
  }

  #paint() {
    const [low, high] = this.handles.map((handle) => handle.value / STEPS);
    const bars = [...this.bars.children];
    bars.forEach((bar, at) =>
      bar.classList.toggle("is-out", (at + 0.5) / bars.length < low || (at + 0.5) / bars.length > high),
    );
    this.handles.forEach((handle) => handle.setAttribute("aria-valuetext", this.#text(this.#at(Number(handle.value)))));
    // Where both are at the far end, the one that can go back lies above.
    this.handles[0].classList.toggle("is-above", low > 0.5);
    this.root.style.setProperty("--low", low);
    this.root.style.setProperty("--high", high);
  }

  #number(value) {
    return this.#isNumber ? value : Date.parse(value);
  }

  #share(value) {
    const low = this.#number(this.#answer.min);
    const high = this.#number(this.#answer.max);
    return high > low ? Math.max(0, Math.min(1, (this.#number(value) - low) / (high - low))) : 0;
  }

  #at(step) {
    const { min, max } = this.#answer;
    if (step <= 0) return min;
    if (step >= STEPS) return max;
    const low = this.#number(min);
    const high = this.#number(max);
    const value = low + ((high - low) * step) / STEPS;
    if (this.kind === "integer") return Math.round(value);
    // As many digits as a step of a handle moves.
    if (this.kind === "number")
      return Number(value.toFixed(Math.max(0, 2 - Math.floor(Math.log10((high - low) / STEPS)))));
    return this.kind === "day"
      ? new Date(value).toISOString().slice(0, 10)
      : new Date(value).toISOString().slice(0, 19);
  }

  #text(value) {
    if (value === null || value === undefined) return "";
    // Floats are told to seven digits, as many as a 32-bit one has.
    return this.#isNumber
      ? String(Number(value.toPrecision(7)))
      : String(value).slice(0, this.kind === "day" ? 10 : 19);
  }
}
