// How far something is that the server computes: a bar, and a line that says it in words.

import { el } from "./dom.js";
import { say } from "./toasts.js";

// What is done of a whole that takes several stages, by the server's names of these.
const STAGES = { compare: "Comparing each with its neighbours", unfold: "Unfolding" };
// Seconds from which on it is told how many there have been, where nobody knows how many there will be.
const LONG = 2;

export class Progress {
  #text = "";

  constructor() {
    this.bar = el("i");
    this.track = el("div", { class: "progress is-unknown", role: "progressbar" }, this.bar);
    this.line = el("p");
  }

  /** Begin with something that is called `text`, a sentence. */
  begin(text) {
    if (text === this.#text) return;
    this.#text = text;
    this.track.setAttribute("aria-label", text);
    this.tell({ stage: "", done: 0, total: null, seconds: 0 });
    say(text);
  }

  /** Nothing is computed any more. */
  end() {
    this.#text = "";
  }

  /** It is so far: what a server says that is asked for it again. */
  tell({ stage, done, total, seconds }) {
    const share = total ? Math.min(1, done / total) : null;
    const percent = Math.floor(100 * share);
    const words = stage === null && !seconds ? "Something else comes first." : STAGES[stage] ? `${STAGES[stage]}:` : "";
    const far = share !== null ? `${percent} %` : seconds >= LONG ? `${Math.floor(seconds)} s` : "";
    this.track.classList.toggle("is-unknown", share === null);
    this.bar.style.width = share === null ? "" : `${100 * share}%`;
    this.line.textContent = [this.#text, words, far].filter(Boolean).join(" ");
    // Who hears the page asks for it when they want to know: told each time it would drown all else.
    this.track.setAttribute("aria-valuetext", this.line.textContent);
    if (share === null) this.track.removeAttribute("aria-valuenow");
    else this.track.setAttribute("aria-valuenow", percent);
  }
}
