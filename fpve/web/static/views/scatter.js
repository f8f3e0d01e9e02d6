// The points of a map on a canvas, with what is drawn over them: rings, a lasso, a card beside the pointer.

import { Camera, Legend, Plot, TONES } from "../plot.js";
import { pathOf } from "../api.js";
import { el } from "../dom.js";
import { Lasso } from "../lasso.js";
import { isDark } from "../theme.js";

// How long points take from where they were to where they are, in milliseconds.
const JOURNEY = 700;
// Pixels that the legend takes, and from which width of the map on there is room for it beside the points.
const LEGEND = 216, WIDE = 760;

export class Scatter {
  /**
   * `found`: {ids, xy (2n numbers), by (see Legend), hasPicture(i)}. `told`: {onhover(i, x, y), onopen(i), onlasso({contains, adds}),
   * onview(), onlegend(shown)}. It is drawn once `element` stands in the page.
   */
  constructor(app, found, told, label) {
    this.app = app;
    this.ids = found.ids;
    this.hovered = -1;
    this.canvas = el("canvas", { class: "map-plot", tabindex: 0, role: "application", "aria-label": label, "aria-describedby": "map-keys" });
    this.over = el("canvas", { class: "map-over", "aria-hidden": "true" });
    this.element = el("div", { class: "map-canvases" }, this.canvas, this.over);
    this.plot = new Plot(this.canvas, found.xy, found.hasPicture);
    this.plot.pictureOf = (i) => pathOf("thumbnails", this.ids[i]);
    this.plot.onpicture = () => this.camera.redraw();
    this.camera = new Camera(this.plot);
    this.legend = new Legend(this.plot, found.by);
    this.legend.onchange = (shown) => {
      this.point(-1);
      this.camera.redraw();
      if (shown >= 0) told.onlegend(shown);
    };
    this.lasso = new Lasso({ onmove: () => this.mark(), onend: told.onlasso, onclick: (x, y) => told.onopen(this.plot.at(this.camera.view, x, y, 12)) });
    Object.assign(this.camera, {
      tool: this.lasso,
      ondraw: () => { this.mark(); told.onview(); },
      onpick: (i) => told.onopen(i),
      onpoint: (i, x, y) => {
        this.point(i);
        told.onhover(i, x, y);
      },
    });
    this.legendElements = this.legend.elements();
    this.recolour();
    this.watch = new ResizeObserver(() => this.resize());
    this.watch.observe(this.element);
  }

  /** Take it away. */
  end() {
    this.watch.disconnect();
    this.camera.stop();
    this.element.remove();
  }

  resize() {
    // Where there is room the map is beside its legend, not below it.
    this.plot.aside = this.hasLegend && this.element.clientWidth > WIDE ? LEGEND : 0;
    this.camera.resize();
    if (!this.plot.width) return; // it is hidden
    this.over.width = this.canvas.width;
    this.over.height = this.canvas.height;
    if (this.start) {
      this.camera.look(this.start());
      this.start = null;
    }
    this.mark();
  }

  recolour() {
    const { app, plot } = this, dark = isDark();
    this.legend.paint({
      paper: app.colour("--paper"), dimmed: app.colour("--edge"), rest: app.colour("--soft"), none: app.colour("--faint"), classes: dark ? TONES.dark : TONES.light,
    }, dark);
    plot.ink = Legend.rgb(app.colour("--ink"));
    plot.accent = Legend.rgb(app.colour("--accent"));
    plot.glass = app.colour("--glass");
    this.colours = { paper: app.colour("--paper"), ink: app.colour("--ink"), line: app.colour("--accent"), fill: app.colour("--accent") };
    this.camera.redraw();
  }

  mark() {
    const context = this.over.getContext("2d"), { paper, ink } = this.colours;
    this.plot.ring(context, this.camera.view, [[this.opened ?? -1, 3], [this.hovered, 2]], paper, ink);
    this.lasso.draw(context, this.colours);
  }

  point(i) {
    if (i === this.hovered) return;
    this.hovered = i;
    this.canvas.classList.toggle("over", i >= 0);
    this.mark();
  }

  /** Numbers of points by their ids. */
  get numbers() {
    this.known ??= new Map(this.ids.map((id, i) => [id, i]));
    return this.known;
  }

  /** Draw these strongly, and the others quietly; where there are none all are as they are. */
  select(ids) {
    const mask = this.maskOf(ids);
    this.plot.selected = mask.count ? mask.points : null;
    this.camera.redraw();
  }

  /** Show these as found; null shows all. Returns how many of them are on the map. */
  match(ids) {
    const mask = ids && this.maskOf(ids);
    this.plot.match = mask && mask.points;
    this.plot.forget();
    this.camera.redraw();
    return mask ? mask.count : this.plot.n;
  }

  maskOf(ids) {
    const points = new Uint8Array(this.plot.n);
    let count = 0;
    for (const id of ids) {
      const i = this.numbers.get(id);
      if (i === undefined) continue;
      points[i] = 1;
      count++;
    }
    return { points, count };
  }

  /** The ids of points that are shown, and at a place of the canvas of which this holds. */
  where(accept) {
    const { plot, camera } = this, found = [];
    for (let i = 0; i < plot.n; i++) if (plot.isMeant(i) && accept(...plot.screen(camera.view, i))) found.push(this.ids[i]);
    return found;
  }

  /** Where the view is, as a short text that is the same on any screen; null where all is seen. */
  get place() {
    const { plot, camera } = this, { left, low, span } = plot.bounds, zoom = camera.view.k / plot.home().k, home = plot.home();
    if (Math.abs(zoom - 1) < 0.01 && Math.hypot(camera.view.x - home.x, camera.view.y - home.y) * home.k < 2) return null;
    return [(camera.view.x - left) / span, (camera.view.y - low) / span, zoom].map((one) => Number(one.toFixed(3))).join(",");
  }

  /** Go to such a place; before there is a canvas to see it on, begin there. */
  goTo(place) {
    const [x, y, zoom] = (place ?? "").split(",").map(Number), { left, low, span } = this.plot.bounds;
    const isPlace = [x, y, zoom].every(Number.isFinite) && zoom > 0;
    this.start = () => isPlace ? { x: left + x * span, y: low + y * span, k: zoom * this.plot.home().k } : this.plot.home();
    if (this.plot.width) this.resize();
  }

  /** Begin with the view of another one. */
  beginLike(before) {
    const { view } = before.camera;
    this.start = () => view;
  }

  /** Let points travel from where they were on another map, as far as they were there. */
  travel(before) {
    const { plot, camera } = this, { xy } = plot, to = xy.slice(), from = xy.slice();
    const here = plot.bounds, there = before.plot.bounds, scale = here.span / there.span;
    for (let i = 0; i < plot.n; i++) {
      const j = before.numbers.get(this.ids[i]);
      if (j === undefined) continue;
      for (const [axis, mine, its] of [[0, here.left + here.right, there.left + there.right], [1, here.low + here.high, there.low + there.high]]) {
        from[2 * i + axis] = mine / 2 + (before.plot.xy[2 * j + axis] - its / 2) * scale;
      }
    }
    const begun = performance.now(), { pictures } = plot;
    plot.pictures = false;
    const step = () => {
      const t = Math.min(1, (performance.now() - begun) / JOURNEY), eased = t < 0.5 ? 4 * t ** 3 : 1 - (2 - 2 * t) ** 3 / 2;
      for (let at = 0; at < xy.length; at++) xy[at] = from[at] + (to[at] - from[at]) * eased;
      if (t === 1) plot.pictures = pictures;
      camera.redraw();
      if (t < 1 && this.element.isConnected) requestAnimationFrame(step);
    };
    if (!camera.calm.matches) step();
    else plot.pictures = pictures;
  }
}

/**
 * The places of points as they are shown: on a screen that is higher than wide turned to fit, and with each axis the
 * way round in which it is nearest to that of the map before. Which way is up means nothing.
 */
export function arranged({ image_id: ids, x, y }, box, before) {
  const xy = new Float32Array(2 * ids.length);
  for (let i = 0; i < ids.length; i++) [xy[2 * i], xy[2 * i + 1]] = [x[i], y[i]];
  Plot.turn(xy, box);
  if (before) align(xy, ids, before);
  return xy;
}

function align(xy, ids, before) {
  const sums = [0, 0], mean = (axis, points) => points.reduce((sum, value, at) => at % 2 === axis ? sum + value : sum, 0) / (points.length / 2);
  const middle = [0, 1].map((axis) => [mean(axis, xy), mean(axis, before.plot.xy)]);
  for (let i = 0; i < ids.length; i++) {
    const j = before.numbers.get(ids[i]);
    if (j === undefined) continue;
    for (const axis of [0, 1]) sums[axis] += (xy[2 * i + axis] - middle[axis][0]) * (before.plot.xy[2 * j + axis] - middle[axis][1]);
  }
  for (const axis of [0, 1]) if (sums[axis] < 0) for (let i = axis; i < xy.length; i += 2) xy[i] = -xy[i];
}
