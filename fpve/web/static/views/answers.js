// What is computed in the background and told in pages: asked for, waited for, and gone on with while it is scrolled.
// It is waited for when the view is left, too: what nobody asks for the server lets go.

import { isAbort } from "../api.js";
import { Tail } from "./tail.js";

// As many at once as the server tells.
const MOST = 500;

export class Answers {
  /** The items that are listed so far. */
  shown = [];
  #key = null;
  #total = 0;
  #asked = false;
  #list = null;
  #left = null;

  /**
   * `place` is where it is shown. How:
   *   path, params()       of the request, without offset and limit
   *   working              what is being done, for the time of waiting
   *   size                 items of a page
   *   items(answer)        what is listed; its offsets are counted in these
   *   total(answer)        how many there are of them
   *   list(answer)         an empty list element
   *   make(item)           the element of one
   *   told(answer)         what stands above the list is to be said anew; null while nothing is known
   *   empty(answer)        a notice {title, text, icon}, where there is none
   */
  constructor(app, place, how) {
    this.app = app;
    this.place = place;
    this.how = how;
    this.channel = app.api.channel();
    this.tail = new Tail(() => this.#more());
  }

  /** Ask, unless what is shown is the answer already. Before the first status nobody knows of which snapshot. */
  show() {
    if (!this.app.status) return;
    if (this.#key !== this.#wanted()) this.load();
    // The next page may have been waited for when the view was left.
    else if (this.#list?.isConnected) this.#follow();
  }

  /** The view is left: keep the place in its list. */
  leave() {
    const view = this.place.closest(".view"), top = view.getBoundingClientRect().top;
    const first = view.scrollTop > 0 && [...(this.#list?.children ?? [])].find((item) => item.getBoundingClientRect().bottom > top);
    this.#left = first ? { item: first, above: top - first.getBoundingClientRect().top } : null;
  }

  /** The view is back: items that were not drawn meanwhile have forgotten how high they were, so that pixels tell nothing. */
  come() {
    if (!this.#left?.item.isConnected) return;
    this.#left.item.scrollIntoView();
    this.place.closest(".view").scrollTop += this.#left.above;
  }

  /** Ask from the beginning; with `keep` as many as were there are asked for, and shown in their place. */
  async load({ keep = false } = {}) {
    const { how, app, place } = this, limit = keep ? Math.min(MOST, Math.max(how.size, this.shown.length)) : how.size;
    let report = null;
    this.#key = this.#wanted();
    this.#asked = true;
    place.setAttribute("aria-busy", "true");
    try {
      const answer = await this.channel.poll(how.path, { ...how.params(), offset: 0, limit }, {
        onprogress: (done) => {
          if (!report) {
            how.told(null);
            this.tail.stop();
            report = app.working(place, how.working);
          }
          report(done);
        },
      });
      this.#asked = false;
      this.#begin(answer);
      if (!keep) place.closest(".view").scrollTop = 0;
    } catch (error) {
      if (isAbort(error)) return;
      this.#asked = false;
      this.#key = null;
      how.told(null);
      app.notice(place, app.refusal(error, { title: "That can't be computed.", action: { text: "Try again", onclick: () => this.load() } }));
    }
    place.removeAttribute("aria-busy");
  }

  /** All items, however many pages they are. */
  async all() {
    const found = [];
    for (let more = true; more;) {
      const answer = await this.app.api.poll(this.how.path, { ...this.how.params(), offset: found.length, limit: MOST });
      const items = this.how.items(answer);
      found.push(...items);
      more = items.length > 0 && found.length < this.how.total(answer);
    }
    return found;
  }

  #wanted() {
    return JSON.stringify([this.how.params(), this.app.status?.snapshot ?? null]);
  }

  #begin(answer) {
    const { how } = this, items = how.items(answer);
    // The first answer may come before the first status, which then changes nothing.
    this.#key = JSON.stringify([how.params(), answer.snapshot]);
    this.shown = [];
    this.#total = how.total(answer);
    this.tail.stop();
    how.told(answer);
    if (!items.length) return this.app.notice(this.place, how.empty(answer));
    this.#list = how.list(answer);
    this.place.replaceChildren(this.#list, this.tail.element);
    this.#append(items);
  }

  #append(items) {
    this.#list.append(...items.map((item) => this.how.make(item)));
    this.shown.push(...items);
    if (!items.length) this.#total = this.shown.length;
    this.#follow();
  }

  #follow() {
    this.tail.follow(this.shown.length >= this.#total);
  }

  async #more() {
    if (this.#asked) return;
    try {
      const answer = await this.channel.poll(this.how.path, { ...this.how.params(), offset: this.shown.length, limit: this.how.size });
      // Of another snapshot the pages would not fit together.
      if (JSON.stringify([this.how.params(), answer.snapshot]) !== this.#key) return this.load({ keep: true });
      this.#append(this.how.items(answer));
    } catch (error) {
      if (!isAbort(error)) throw error;
    }
  }
}
