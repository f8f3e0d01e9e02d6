// A picture with its caption, wherever one is shown. Grids fill the same tile again for another image.

import { bdi, el, icon } from "./dom.js";
import { groundOf } from "./ground.js";
import { fileName, nameOf, score } from "./words.js";

export class Tile {
  /** `element` is what holds it: its role, its listeners and its place are the business of whoever made it. */
  constructor(element) {
    this.element = element;
    this.picture = el("img", { class: "thumb", alt: "", decoding: "async", draggable: "false" });
    this.broken = el("span", { class: "broken", hidden: true });
    // Its place in the list, and its name, say these too.
    this.badge = el("span", { class: "badge", "aria-hidden": "true", hidden: true });
    this.check = el("span", { class: "check", "aria-hidden": "true" }, icon("check"));
    this.caption = el("p", { class: "caption", dir: "auto" });
    this.scores = el("div", { class: "scores", "aria-hidden": "true", hidden: true });
    element.classList.add("tile");
    this.ground = el("div", { class: "ground" }, this.picture, this.broken, this.badge, this.check);
    element.append(this.ground, el("div", { class: "words" }, this.scores, this.caption));
    this.picture.addEventListener("load", () => this.#loaded());
    this.picture.addEventListener("error", () => this.#break());
    this.row = null;
    this.isLoading = false;
  }

  /** Show an image; null while it is not known which. Without `pictured` its thumbnail waits for `load`. */
  fill(row, { badge = row?.rank ?? null, scores = true, pictured = true } = {}) {
    const before = this.row;
    this.row = row;
    this.element.classList.toggle("is-waiting", row === null);
    this.badge.hidden = badge === null;
    this.badge.textContent = badge ?? "";
    this.#score(scores && row?.score !== undefined ? row : null);
    if (before && row && before.image_id === row.image_id && before.thumbnail === row.thumbnail) return;
    const name = row ? nameOf(row) : "";
    this.caption.textContent = name;
    this.caption.classList.toggle("is-file", !!row && !row.prefix?.trim());
    this.caption.title = name;
    // Else its picture, its score and its caption would all be read.
    if (row)
      this.element.setAttribute("aria-label", row.score === undefined ? name : `${name}, score ${score(row.score)}`);
    else this.element.removeAttribute("aria-label");
    this.broken.hidden = true;
    this.picture.hidden = false;
    this.picture.classList.remove("is-loaded");
    this.#stand("");
    this.picture.alt = name;
    if (this.picture.hasAttribute("src")) this.picture.removeAttribute("src");
    this.isLoading = false;
    if (row && !row.thumbnail) this.#break();
    else if (row && pictured) this.load();
  }

  /** Ask for the thumbnail, if that was put off. */
  load() {
    if (this.isLoading || !this.row?.thumbnail) return;
    this.isLoading = true;
    this.picture.src = this.row.thumbnail;
    // What the browser has already is shown at once, without fading in.
    if (this.picture.complete && this.picture.naturalWidth) this.#loaded();
  }

  #loaded() {
    this.#stand(groundOf(this.picture));
    this.picture.classList.add("is-loaded");
  }

  #stand(ground) {
    if (ground === this.stands) return;
    this.stands = ground;
    this.ground.classList.toggle("is-paper", ground === "paper");
    this.ground.classList.toggle("is-even", ground !== "" && ground !== "paper");
    this.ground.style.setProperty("--even", ground && ground !== "paper" ? `rgb(${ground})` : "");
  }

  #break() {
    if (!this.row) return;
    this.picture.hidden = true;
    this.broken.hidden = false;
    this.broken.replaceChildren(icon("picture"), bdi(fileName(this.row.path || this.row.image_id)));
  }

  #score(row) {
    this.scores.hidden = row === null;
    if (row === null) return this.scores.replaceChildren();
    const image = row.image_score ?? row.cross_score;
    this.scores.replaceChildren(
      ...[
        el("b", { text: score(row.score), title: "score" }),
        bar(image, "image", row.image_score === null && row.cross_score !== null ? "text against picture" : "picture"),
        bar(row.prefix_score, "prefix", "prefix"),
      ].filter(Boolean),
    );
  }
}

/** A cosine as a small bar, null for null. Negative ones are shown as none: there is no less than unlike. */
export function bar(cosine, kind, what) {
  if (cosine === null || cosine === undefined) return null;
  const made = el("span", { class: ["cosine", kind], title: `${what}: ${score(cosine)}` }, el("i"));
  made.firstChild.style.width = `${100 * Math.max(0, Math.min(1, cosine))}%`;
  return made;
}

/** A tile that stands by itself: a link to the image. `onclick(event)` takes the place of following it. */
export function standing(row, { badge = null, scores = false, href = null, onclick = null } = {}) {
  const made = el("a", { href, class: "is-standing", "data-id": row.image_id });
  const tile = new Tile(made);
  tile.fill(row, { badge, scores });
  // The link is called so already.
  tile.picture.alt = "";
  if (onclick) {
    made.addEventListener("click", (event) => {
      // With a modifier it is a link like others: another tab, another window.
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      onclick(event);
    });
  }
  return made;
}
