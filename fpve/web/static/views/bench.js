// What stands above the list of a view: what was found, in words, and the controls that it was found with.

import { button, el } from "../dom.js";

/** The head of a view. `title`, `about` and `notes` are said anew with each answer. */
export class Bench {
  constructor({ controls = [], actions = [], beside = null } = {}) {
    this.title = el("h1");
    this.about = el("p", { class: "soft" });
    this.notes = el("ul", { class: "bench-notes", hidden: true });
    this.actions = el("div", { class: "bench-actions", hidden: true }, actions);
    this.element = el("header", { class: "bench" },
      el("div", { class: "bench-words" }, this.title, this.about), beside ?? this.actions,
      el("div", { class: "bench-controls" }, controls), this.notes);
  }

  /** `actions` says whether there is something to act on. */
  tell({ title, about = "", notes = [], actions = false }) {
    this.title.textContent = title;
    this.about.textContent = about;
    this.notes.hidden = !notes.length;
    this.notes.replaceChildren(...notes.map((note) => el("li", { text: note, dir: "auto" })));
    this.actions.hidden = !actions;
  }
}

/** A slider that says its value while it is moved, and tells when it is let go. */
export class Slide {
  constructor({ label, about = null, min, max, step, says = String, onchange }) {
    this.says = says;
    this.output = el("output");
    this.input = el("input", { type: "range", min, max, step, "aria-label": label, oninput: () => this.#say(), onchange: () => onchange(Number(this.input.value)) });
    this.element = el("label", { class: "slide", title: about }, el("span", { text: label }), this.input, this.output);
  }

  set value(value) {
    this.input.value = value;
    this.#say();
  }

  #say() {
    this.output.textContent = this.says(Number(this.input.value));
    this.input.setAttribute("aria-valuetext", this.output.textContent);
  }
}

/** A chooser. `options` are [value, text]; a value of "" stands for none. */
export class Choice {
  constructor({ label, onchange }) {
    this.select = el("select", { class: "input", "aria-label": label, onchange: () => onchange(this.select.value) });
    this.element = el("label", { class: "choice" }, el("span", { text: label }), this.select);
  }

  fill(options, value) {
    this.select.replaceChildren(...options.map(([key, text]) => el("option", { value: key, text })));
    this.select.value = value;
  }
}

/** Buttons for what was found: select all of it, or have it as a file. `ids()` promises them. */
export function acting(app, { select, name, ids }) {
  const busy = (act) => async (event) => {
    const pressed = event.currentTarget;
    pressed.disabled = true;
    try {
      await act(await ids());
    } catch (error) {
      app.toast(error.message, { kind: "error" });
    }
    pressed.disabled = false;
  };
  return [
    button({ class: "button", icon: "check", text: select, onclick: busy((found) => {
      app.selection.add(found);
      app.say(`${found.length} images are selected`);
    }) }),
    button({ class: "button", icon: "out", text: "Export as CSV", title: name, onclick: busy((found) => app.keepExport({ format: "csv", ids: found })) }),
  ];
}
