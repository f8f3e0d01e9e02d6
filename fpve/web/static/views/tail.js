// The end of a list that comes in pages: asks for the next one before it is seen, and says where that failed.

import { button, el } from "../dom.js";

// Below the screen, so that a scrolling hand does not wait.
const AHEAD = "1200px";

export class Tail {
  #watch = null;
  #more;

  /** `more()` promises the next page to be there, or fails. */
  constructor(more) {
    this.#more = more;
    this.element = el("div", { class: "list-end" });
  }

  /** A page is there; `isLast` says whether nothing follows. */
  follow(isLast) {
    // The view is what scrolls: a margin around the window means nothing inside of it.
    this.#watch ??= new IntersectionObserver((seen) => seen.at(-1).isIntersecting && this.#ask(), { root: this.element.closest(".view"), rootMargin: AHEAD });
    this.#watch.disconnect();
    this.element.replaceChildren();
    // To observe it anew tells at once whether it is still near the screen.
    if (!isLast) this.#watch.observe(this.element);
  }

  stop() {
    this.#watch?.disconnect();
  }

  async #ask() {
    this.stop();
    this.element.replaceChildren(el("div", { class: "progress is-unknown" }, el("i")));
    try {
      await this.#more();
    } catch (error) {
      this.element.replaceChildren(el("p", { text: error.message }), button({ class: "button", text: "Try again", onclick: () => this.#ask() }));
    }
  }
}
