// What the neighbours of an image say of its label: truth against prediction, how sure, and who voted.

import { isAbort, pathOf } from "../api.js";
import { el, icon } from "../dom.js";
import { Progress } from "../progress.js";
import { standing } from "../tile.js";
import { fileName, percent, score, valueText } from "../words.js";

// Up to here votes are calibrated while one waits; of more images only for who chooses a label.
const EAGER = 20_000;
const CLASSES = 5;
const VOTERS = 10;
// A weight counts when its knob has stood still for so long: each is calibrated by itself.
const STILL = 600;

export class Prediction {
  #app;
  #channel;
  #id = null;
  #asked = null;
  #still = 0;

  constructor(app) {
    this.#app = app;
    this.#channel = app.api.channel();
    this.choice = el("select", {
      class: "input",
      "aria-label": "Label column",
      onchange: () => app.state.set({ label: this.choice.value || null }, { replace: true }),
    });
    this.progress = new Progress();
    this.progress.line.className = "soft";
    // What neighbours say is read when it is there, and not how far off it is.
    this.progress.line.setAttribute("aria-live", "off");
    this.body = el("div", { class: "prediction-body", "aria-live": "polite" });
    this.root = el(
      "section",
      { class: "detail-section", hidden: true },
      el("div", { class: "section-head" }, el("h3", { text: "Label by neighbours" }), this.choice),
      this.body,
    );
  }

  /** Tell of an image; null: of none. */
  show(id) {
    this.#id = id;
    const { status } = this.#app;
    const labels = (status?.columns ?? []).filter((column) => column.is_label).map((column) => column.name);
    this.root.hidden = !labels.length;
    if (id === null || !labels.length) return this.#channel.abort();
    if (this.#app.filteredColumns() === null) return;
    const label = this.#label(labels);
    this.choice.replaceChildren(
      ...(label === null ? [el("option", { value: "", text: "Choose a column" })] : []),
      ...labels.map((name) => el("option", { value: name, text: name, selected: name === label })),
    );
    if (label === null) this.body.replaceChildren();
    else this.#ask(label);
  }

  /** The weight is another. */
  weigh() {
    clearTimeout(this.#still);
    this.#still = setTimeout(() => this.#id !== null && this.show(this.#id), STILL);
  }

  // The column that was chosen; else the first one that images are filtered by, which has few values.
  #label(labels) {
    const { state, status } = this.#app;
    const chosen = state.get("label");
    if (labels.includes(chosen)) return chosen;
    if (status.images > EAGER) return null;
    const filtered = this.#app.filteredColumns();
    return labels.find((name) => filtered.includes(name)) ?? (filtered.length ? null : labels[0]);
  }

  async #ask(label) {
    const params = { label, image_weight: this.#app.weight() };
    const asked = JSON.stringify([this.#id, params, this.#app.status.snapshot]);
    if (asked === this.#asked) return;
    this.#asked = asked;
    this.body.classList.add("is-stale");
    try {
      const answer = await this.#channel.poll(pathOf("predictions", this.#id), params, {
        onprogress: (told) => {
          this.progress.begin("Weighing the votes of this column, once.");
          this.progress.tell(told);
          this.body.classList.remove("is-stale");
          if (!this.progress.track.isConnected) this.body.replaceChildren(this.progress.line, this.progress.track);
        },
      });
      this.progress.end();
      this.#draw(answer);
    } catch (error) {
      this.progress.end();
      if (isAbort(error)) return;
      this.#asked = null;
      this.body.replaceChildren(el("p", { class: "field-error", text: error.message, dir: "auto" }));
    }
    this.body.classList.remove("is-stale");
  }

  #draw({ truth, prediction, confidence, novelty, probabilities, neighbours }) {
    const agrees =
      truth === null || prediction === null
        ? null
        : JSON.stringify([truth].flat().sort()) === JSON.stringify([prediction].flat().sort());
    const verdict =
      agrees === null
        ? null
        : el(
            "span",
            { class: ["detail-verdict", agrees ? "is-right" : "is-wrong"] },
            icon(agrees ? "check" : "warning"),
            agrees ? "they agree" : "they disagree",
          );
    const most = Math.max(...probabilities.map((one) => one.probability), 0.0001);
    const matches = (label) => [prediction].flat().some((one) => [label].flat().includes(one));
    this.body.replaceChildren(
      el(
        "dl",
        { class: "detail-verdicts" },
        el(
          "div",
          {},
          el("dt", { text: "It is" }),
          el("dd", { dir: "auto", text: truth === null ? "not labelled" : valueText(truth) }),
        ),
        el(
          "div",
          {},
          el("dt", { text: "Neighbours say" }),
          el("dd", { dir: "auto", text: prediction === null ? "nothing" : valueText(prediction) }),
        ),
        confidence === null
          ? ""
          : el("div", {}, el("dt", { text: "Confidence" }), el("dd", { text: percent(confidence) })),
      ),
      verdict ?? "",
      el(
        "ul",
        { class: "detail-shares" },
        probabilities
          .slice(0, CLASSES)
          .map(({ label, probability }) =>
            el(
              "li",
              { class: matches(label) && "is-best" },
              el("bdi", { text: label, title: label }),
              el(
                "span",
                { class: "detail-share", "aria-hidden": "true" },
                el("i", { style: { width: `${(100 * probability) / most}%` } }),
              ),
              el("span", { text: percent(probability) }),
            ),
          ),
      ),
      novelty !== null && novelty > 0.95
        ? el("p", {
            class: "soft",
            text: `Unlike the others: ${percent(novelty)} of the labelled images are nearer to their neighbours.`,
          })
        : "",
      el(
        "ul",
        { class: "detail-voters" },
        neighbours.slice(0, VOTERS).map((one) => el("li", {}, this.#voter(one, matches(one.label)))),
      ),
    );
  }

  #voter(row, isFor) {
    const among = () => this.#app.openImage(row.image_id);
    const made = standing(row, { href: this.#app.state.url({ image: row.image_id }), onclick: among });
    made
      .querySelector(".words")
      .replaceChildren(
        el(
          "span",
          { class: ["voter-label", isFor && "is-for"] },
          icon(isFor ? "check" : "cross"),
          el("bdi", { text: valueText(row.label) }),
        ),
        el("span", { class: "soft", text: score(row.score) }),
      );
    made.title = `${row.prefix ?? fileName(row.path)}: ${valueText(row.label)}`;
    return made;
  }
}
