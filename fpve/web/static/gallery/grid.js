// The grid: as many tiles as are seen and a few more, used again for other images when they scroll away.
//
// A tile belongs to an image rather than to a place: when images are ranked anew, each moves to where it is now. For
// assistive technology it is a list box of several columns; one tile at a time can be reached by Tab.

import { el } from "../dom.js";
import { Tile } from "../tile.js";
import { between, geometry, heightOf, placeOf, Scroll } from "./geometry.js";

// Tiles beyond the edges, in heights of the screen: enough for a flick, while the next are filled.
const AHEAD = 0.6;
// A little longer than the transition of css/gallery.css.
const RANKING = 480;
// Faster than half a screen a frame nobody sees pictures: neither they nor rows are asked for until it is slower.
const HURRY = 0.5;
const SLOWER = 90;

export class Grid {
  #nodes = new Map();
  #spare = [];
  #frame = 0;
  #resting = 0;
  #ranking = 0;
  #hurry = 0;
  #scroll;
  listing = null;
  sizes = null;
  active = 0;

  /**
   * `isSelected(id)` says what is marked; `onopen(index)`, `onselect(index, event)` are what a click does, `onmove()`
   * is called when other rows are seen.
   */
  constructor({ isSelected, onopen, onselect, onmove = () => {} }) {
    this.isSelected = isSelected;
    this.onopen = onopen;
    this.onselect = onselect;
    this.onmove = onmove;
    this.layer = el("div", { class: "layer", role: "listbox", "aria-multiselectable": "true", "aria-label": "Images" });
    this.element = el("div", { class: "scroller", onscroll: () => this.#scrolled() }, this.layer);
    this.#scroll = new Scroll(this.element);
    this.layer.addEventListener("click", (event) => this.#clicked(event));
    this.layer.addEventListener("focusin", (event) => this.#focused(event));
    new ResizeObserver(() => this.resize()).observe(this.element);
  }

  get count() {
    return this.listing?.total ?? 0;
  }

  /** Indexes of the first and last image on the screen. */
  get seen() {
    if (!this.sizes) return [0, 59];
    return between(this.sizes, this.count, this.#scroll.top, this.#scroll.top + this.element.clientHeight);
  }

  /** Show rows. `animate`: images that were there move to their places; `at`: the index to begin with, null to stay. */
  show(listing, { animate = false, at = 0, size, scored }) {
    const focused = this.#focusedId();
    this.listing = listing;
    this.wanted = { size, scored };
    this.#measure();
    if (at !== null) {
      this.active = Math.min(at, Math.max(0, this.count - 1));
      this.#scroll.to(at ? placeOf(this.sizes, at).y : 0);
    } else {
      const moved = focused === null ? -1 : listing.indexOf(focused);
      this.active = Math.max(0, Math.min(moved >= 0 ? moved : this.active, this.count - 1));
    }
    this.render(animate);
  }

  /** The width or the size of tiles is another: what was looked at stays where it is. */
  resize(size = this.wanted?.size) {
    if (!this.listing || !this.element.clientWidth) return;
    const [first, last] = this.seen;
    const before = this.sizes;
    const kept = this.active >= first && this.active <= last ? this.active : first;
    const offset = before ? placeOf(before, kept).y - this.#scroll.top : 0;
    this.wanted.size = size;
    this.#measure();
    if (before && this.#scroll.top > 0) this.#scroll.to(placeOf(this.sizes, kept).y - offset);
    this.render();
  }

  /** Put tiles where they belong. */
  render(animate = false) {
    const { listing, sizes } = this;
    if (!listing || !sizes) return;
    const seen = this.element.clientHeight;
    const { top } = this.#scroll;
    const more = AHEAD * seen;
    const [first, last] = between(sizes, this.count, top - more, top + seen + more);
    const indexes = [];
    for (let at = first; at <= last; at++) indexes.push(at);
    // The one that has the focus stays, wherever it is: else the keyboard would lose its place.
    if (this.count && (this.active < first || this.active > last)) indexes.push(this.active);
    if (animate) this.#rank();
    this.#place(indexes, animate);
    const [from, to] = this.seen;
    if (!this.#hurry) listing.want(from, to);
    this.onmove(from, to);
  }

  /** Mark what is selected. */
  mark() {
    for (const node of this.#nodes.values()) this.#markOne(node);
  }

  /** Bring an image into view, and give it the focus. */
  go(index, { focus = true } = {}) {
    if (!this.count) return;
    this.active = Math.max(0, Math.min(this.count - 1, index));
    const { y } = placeOf(this.sizes, this.active);
    const seen = this.element.clientHeight;
    const { top } = this.#scroll;
    const bottom = y + this.sizes.step;
    if (y < top) this.#scroll.to(y);
    else if (bottom > top + seen) this.#scroll.to(bottom - seen);
    this.render();
    const node = [...this.#nodes.values()].find((one) => one.index === this.active);
    if (focus) node?.element.focus({ preventScroll: true });
  }

  #measure() {
    const style = getComputedStyle(this.element);
    const width = this.element.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    this.sizes = geometry({ width, ...this.wanted });
    const height = this.#scroll.resize(heightOf(this.sizes, this.count));
    this.layer.style.height = `${height}px`;
    this.layer.style.setProperty("--side", `${this.sizes.side}px`);
    this.layer.style.setProperty("--lines", this.sizes.lines);
    this.#scroll.follow();
  }

  #scrolled() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      const before = this.#scroll.top;
      this.#scroll.follow();
      if (Math.abs(this.#scroll.top - before) > HURRY * this.element.clientHeight) {
        clearTimeout(this.#hurry);
        this.#hurry = setTimeout(() => {
          this.#hurry = 0;
          this.render();
        }, SLOWER);
      }
      this.render();
    });
    clearTimeout(this.#resting);
    this.#resting = setTimeout(() => {
      const { shift } = this.#scroll;
      this.#scroll.settle();
      if (shift !== this.#scroll.shift) this.render();
    }, 250);
  }

  #place(indexes, animate) {
    const { listing, sizes } = this;
    const keys = new Map();
    for (const index of indexes) {
      const id = listing.get(index)?.image_id;
      // Between two snapshots an image may stand in two windows.
      keys.set(id === undefined || keys.has(id) ? `#${index}` : id, index);
    }
    for (const [key, node] of this.#nodes) {
      if (keys.has(key)) continue;
      this.#nodes.delete(key);
      // What waited for the row of its place gets that row.
      const id = key.startsWith("#") ? listing.get(node.index)?.image_id : undefined;
      if (id !== undefined && keys.get(id) === node.index && !this.#nodes.has(id)) this.#nodes.set(id, node);
      else this.#spare.push(node);
    }
    const { shift } = this.#scroll;
    for (const [key, index] of keys) {
      let node = this.#nodes.get(key);
      if (!node) {
        node = this.#spare.pop() ?? this.#made();
        node.element.hidden = false;
        node.element.classList.toggle("is-new", animate);
        this.#nodes.set(key, node);
      }
      const { x, y } = placeOf(sizes, index);
      const at = `translate(${x}px, ${y + shift}px)`;
      if (node.at !== at) node.element.style.transform = node.at = at;
      if (node.index !== index) {
        node.index = index;
        node.element.setAttribute("aria-posinset", index + 1);
      }
      if (node.of !== this.count) node.element.setAttribute("aria-setsize", (node.of = this.count));
      const tabIndex = index === this.active ? 0 : -1;
      if (node.element.tabIndex !== tabIndex) node.element.tabIndex = tabIndex;
      const row = listing.get(index);
      if (node.tile.row !== row) node.tile.fill(row, { pictured: !this.#hurry });
      else if (!this.#hurry) node.tile.load();
      this.#markOne(node);
    }
    for (const node of this.#spare) if (!node.element.hidden) this.#put(node);
  }

  // A spare tile asks for no picture, and does not keep the focus.
  #put(node) {
    node.element.hidden = true;
    node.element.removeAttribute("aria-posinset");
    node.element.tabIndex = node.index = -1;
    node.tile.fill(null);
  }

  #made() {
    const element = el("div", { role: "option", tabindex: "-1" });
    const node = { element, tile: new Tile(element), index: -1, at: "" };
    element.node = node;
    this.layer.append(element);
    return node;
  }

  #markOne(node) {
    const id = node.tile.row?.image_id;
    const selected = id !== undefined && this.isSelected(id);
    if (node.selected !== selected) node.element.setAttribute("aria-selected", (node.selected = selected));
  }

  #rank() {
    this.layer.classList.add("is-ranking");
    clearTimeout(this.#ranking);
    this.#ranking = setTimeout(() => this.layer.classList.remove("is-ranking"), RANKING);
  }

  #clicked(event) {
    const node = event.target.closest(".tile")?.node;
    if (!node?.tile.row) return;
    const selects = event.target.closest(".check") || event.ctrlKey || event.metaKey || event.shiftKey;
    if (selects) this.onselect(node.index, event);
    else this.onopen(node.index);
  }

  #focused(event) {
    const node = event.target.closest(".tile")?.node;
    if (!node || node.index < 0 || node.index === this.active) return;
    this.active = node.index;
    for (const one of this.#nodes.values()) one.element.tabIndex = one === node ? 0 : -1;
  }

  #focusedId() {
    return document.activeElement?.node?.tile.row?.image_id ?? null;
  }
}
