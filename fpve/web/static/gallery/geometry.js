// Where tiles are: columns and rows of equal size, and how far the page is scrolled through them.

// Browsers cut elements off at 17 to 33 million pixels; compositing is exact to the pixel well below.
const HIGHEST = 8_000_000;
// Two columns at least, on whatever screen: one picture a row is no gallery.
const FEWEST = 2;

/** Sizes of a grid in pixels: {columns, side, gap, words, step (a row to the next), left}. */
export function geometry({ width, size, scored }) {
  const gap = size < 120 ? 10 : size < 200 ? 16 : 20;
  const columns = Math.max(FEWEST, Math.round((width + gap) / (size + gap)));
  const side = Math.floor((width - gap * (columns - 1)) / columns);
  // 16 px a line: one of a caption where tiles are small, else two, and one of scores.
  const words = 6 + (side < 112 ? 16 : 33) + (scored ? 18 : 0);
  return { columns, side, gap, words, step: side + words + gap, lines: side < 112 ? 1 : 2, width };
}

export const rowsOf = ({ columns }, count) => Math.ceil(count / columns);
export const heightOf = (sizes, count) => Math.max(0, rowsOf(sizes, count) * sizes.step - sizes.gap);

/** The place of the tile of an index. */
export function placeOf({ columns, side, gap, step }, index) {
  return { x: (index % columns) * (side + gap), y: Math.floor(index / columns) * step };
}

/** The first and last index that are seen between two heights. */
export function between({ columns, step }, count, top, bottom) {
  const first = Math.max(0, Math.floor(top / step)) * columns;
  const last = (Math.floor(bottom / step) + 1) * columns - 1;
  return [Math.min(first, Math.max(0, count - 1)), Math.min(last, count - 1)];
}

/**
 * Scrolling through more pixels than an element can have. Small steps move as far as the hand does; a jump of the
 * scroll bar goes to the same share of the whole; when the hand rests, the bar is put where it belongs.
 */
export class Scroll {
  #scroller;
  #last = 0;
  #full = 0;
  top = 0;

  constructor(scroller) {
    this.#scroller = scroller;
  }

  /** The whole height is `full`; returns the height that the element gets. */
  resize(full) {
    this.#full = full;
    return Math.min(full, HIGHEST);
  }

  /** What is to be added to the place of a tile, to have its place in the element. */
  get shift() {
    return this.#isScaled ? this.#scroller.scrollTop - this.top : 0;
  }

  /** The scroller has scrolled. */
  follow() {
    const at = this.#scroller.scrollTop;
    const seen = this.#scroller.clientHeight;
    const most = this.#scroller.scrollHeight - seen;
    if (!this.#isScaled) this.top = at;
    else if (Math.abs(at - this.#last) > seen || at <= 0 || at >= most - 1)
      this.top = (at / most) * (this.#full - seen);
    else this.top = Math.max(0, Math.min(this.#full - seen, this.top + at - this.#last));
    this.#last = at;
  }

  /** Go to a height. */
  to(top) {
    const seen = this.#scroller.clientHeight;
    const most = this.#scroller.scrollHeight - seen;
    this.top = Math.max(0, Math.min(this.#full - seen, top));
    this.#scroller.scrollTop = this.#isScaled ? (this.top / Math.max(1, this.#full - seen)) * most : this.top;
    this.#last = this.#scroller.scrollTop;
  }

  /** The hand rests. */
  settle() {
    if (this.#isScaled) this.to(this.top);
  }

  get #isScaled() {
    return this.#full > HIGHEST;
  }
}
