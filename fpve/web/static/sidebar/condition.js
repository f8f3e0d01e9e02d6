// The WHERE box: a condition in SQL, tried before it counts, so that a mistake harms nothing that is shown.

import { button, el } from "../dom.js";
import { menuButton } from "../menu.js";

const EXAMPLES = ["width > 1000", "prefix ILIKE '%red%'", "width > height", "prefix IS NULL"];

export class Condition {
  #app;
  #combined = null;

  constructor(app) {
    this.#app = app;
    this.input = el("textarea", {
      class: "input mono where",
      rows: "1",
      spellcheck: "false",
      autocapitalize: "off",
      autocomplete: "off",
      placeholder: "width > 1000",
      "aria-label": "Condition in SQL, applied by Enter",
      "aria-describedby": "where-error where-hint",
      onkeydown: (event) => this.#key(event),
      oninput: () => this.#typed(),
    });
    this.error = el("p", { id: "where-error", class: "field-error", role: "alert" });
    this.columns = menuButton({ class: "link", text: "Columns, examples" }, () => this.#columns(), { align: "left" });
    this.copy = button({ class: "link", text: "Copy as --where", hidden: true, onclick: () => this.#copy() });
    this.root = el(
      "section",
      { class: "condition" },
      el("div", { class: "where-line" }, el("span", { class: "mono where-word", text: "WHERE" }), this.input),
      this.error,
      el("p", { id: "where-hint", class: "where-hint" }, this.columns, this.copy),
    );
    this.update();
  }

  /** The address has another condition. */
  update() {
    this.input.value = this.#app.state.get("where") ?? "";
    this.error.textContent = "";
    this.input.removeAttribute("aria-invalid");
    this.#grow();
  }

  /** What filters and this box come to together. */
  combined(condition) {
    this.#combined = condition;
    this.copy.hidden = condition === null;
  }

  /** Say why the condition can't be. */
  refuse(message) {
    // It stands below the word already.
    this.error.textContent = message.replace(/^where: /, "");
    this.input.setAttribute("aria-invalid", "true");
  }

  async #apply() {
    const where = this.input.value.trim() || null;
    const { api, state } = this.#app;
    if (where === state.get("where")) return this.update();
    try {
      if (where) await api.get("/api/images", { where, limit: 0 });
      state.set({ where });
      this.update();
    } catch (error) {
      this.refuse(error.message);
    }
  }

  #key(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.#apply();
    } else if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      this.update();
      this.input.blur();
    }
  }

  #typed() {
    this.error.textContent = "";
    this.input.removeAttribute("aria-invalid");
    this.#grow();
  }

  #grow() {
    this.input.style.height = "auto";
    if (this.input.scrollHeight) this.input.style.height = `${Math.min(160, this.input.scrollHeight + 2)}px`;
  }

  #columns() {
    const fixed = [
      ["image_id", "string"],
      ["path", "string"],
      ["prefix", "string"],
      ["width", "int32"],
      ["height", "int32"],
      ["bytes", "int64"],
    ];
    const own = (this.#app.status?.columns ?? []).map((column) => [column.name, column.type]);
    const examples = EXAMPLES.map((text) => ({
      text,
      hint: "example",
      onclick: () => this.#insert(text, { isName: false }),
    }));
    return [
      ...[...own, "-", ...fixed].map((one) =>
        one === "-" ? "-" : { text: one[0], hint: one[1], onclick: () => this.#insert(one[0]) },
      ),
      "-",
      ...examples,
    ];
  }

  #insert(name, { isName = true } = {}) {
    const text = !isName || /^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
    this.input.focus();
    this.input.setRangeText(text, this.input.selectionStart, this.input.selectionEnd, "end");
    this.#typed();
  }

  async #copy() {
    const quoted = `'${this.#combined.replaceAll("'", "'\\''")}'`;
    await this.#app.copy(`--where ${quoted}`);
  }
}
