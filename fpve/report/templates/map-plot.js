// What is drawn in which order: points that are not found or not pointed at, those that are, and those selected.
const HIDDEN = -1, OTHER = 0, MEANT = 1, SELECTED = 2;

// Points on a canvas. They are blended into an array of pixels, which takes 100,000 of them some milliseconds, where
// as many calls of a canvas take ten times as long. They come in an order of which any beginning is spread over the
// map: where drawing is slow, while the map moves, the first ones stand for all.
class Plot {
  constructor(canvas, xy, hasPicture) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.n = xy.length / 2;
    this.xy = xy;
    this.hasPicture = hasPicture;
    this.entry = new Uint16Array(this.n); // number of the legend's entry that each point belongs to
    this.tone = new Uint16Array(this.n); // number of its colour
    this.tones = [[0, 0, 0]];
    this.paper = [255, 255, 255];
    this.dimmed = [211, 217, 224];
    this.off = []; // entries that are not drawn
    this.match = null; // which points are found; null: all
    this.selected = null; // which points are selected; null: none
    this.ink = [29, 36, 48]; // of the rims of points that are selected
    this.accent = [23, 99, 198]; // of the frames of pictures that are
    this.glass = null; // a colour that dims pictures, which by night are brighter than all else
    this.spot = -1; // an entry that is pointed at
    this.pictures = true;
    this.aside = 0; // pixels at the right over which something lies
    this.boxes = []; // pictures that are drawn, by where they are
    this.cost = 0; // milliseconds that a drawing of all points takes
    this.loaded = new Map();
    this.forget();
    this.measure();
    this.gather();
  }

  // Bounds of some of the points; null where there is none.
  boundsOf(accept = () => true) {
    let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
    for (let i = 0; i < this.n; i++) {
      if (!accept(i)) continue;
      const x = this.xy[2 * i], y = this.xy[2 * i + 1];
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < low) low = y;
      if (y > high) high = y;
    }
    return left <= right ? { left, right, low, high } : null;
  }

  // Where all points are, and on how much of the plane, by the cells that have one.
  measure() {
    const { left, right, low, high } = this.boundsOf() ?? { left: 0, right: 1, low: 0, high: 1 };
    const span = Math.max(right - left, high - low) || 1;
    this.bounds = { left, right, low, high, span };
    // Cells of which most have several points: with smaller ones it would be the number of points.
    const side = Math.max(6, Math.min(96, Math.round(Math.sqrt(this.n) / 1.6))), cells = new Uint8Array((side + 1) * (side + 1));
    let taken = 0;
    for (let i = 0; i < this.n; i++) {
      const at = Math.floor((this.xy[2 * i] - left) / span * side) * (side + 1) + Math.floor((this.xy[2 * i + 1] - low) / span * side);
      taken += 1 - cells[at];
      cells[at] = 1;
    }
    this.area = Math.max(1, taken) * (span / side) ** 2;
  }

  // The points by cells of a grid, to find what is pointed at.
  gather() {
    const side = this.side = Math.max(1, Math.min(512, Math.ceil(Math.sqrt(this.n / 2))));
    const { left, low, span } = this.bounds;
    this.cellOf = (x, y) => {
      const cut = (value) => Math.max(0, Math.min(side - 1, Math.floor(value * side)));
      return [cut((x - left) / span), cut((y - low) / span)];
    };
    this.starts = new Uint32Array(side * side + 1);
    const cells = new Uint32Array(this.n);
    for (let i = 0; i < this.n; i++) {
      const [column, row] = this.cellOf(this.xy[2 * i], this.xy[2 * i + 1]);
      this.starts[(cells[i] = row * side + column) + 1]++;
    }
    for (let cell = 0; cell < side * side; cell++) this.starts[cell + 1] += this.starts[cell];
    const next = this.starts.slice();
    this.items = new Uint32Array(this.n);
    for (let i = 0; i < this.n; i++) this.items[next[cells[i]]++] = i;
  }

  resize() {
    const box = this.canvas.getBoundingClientRect();
    this.ratio = Math.min(2, window.devicePixelRatio || 1);
    this.width = box.width;
    this.height = box.height;
    this.canvas.width = Math.max(1, Math.round(box.width * this.ratio));
    this.canvas.height = Math.max(1, Math.round(box.height * this.ratio));
    // A margin, so that points at the edge need no test for each pixel.
    this.margin = 24;
    this.stride = this.canvas.width + 2 * this.margin;
    this.image = new ImageData(this.stride, this.canvas.height + 2 * this.margin);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.phone = this.width < 560;
    this.forget();
  }

  // The view that shows some bounds, or all points.
  fit(bounds = this.bounds) {
    const room = this.phone ? 26 : 48;
    const wide = Math.max(bounds.right - bounds.left, this.bounds.span / 60), tall = Math.max(bounds.high - bounds.low, this.bounds.span / 60);
    const k = Math.max(1e-12, Math.min((this.width - this.aside - 2 * room) / wide, (this.height - 2 * room) / tall));
    return { x: (bounds.left + bounds.right + this.aside / k) / 2, y: (bounds.low + bounds.high) / 2, k };
  }

  home() {
    return this.fit();
  }

  isShown(i) {
    return !this.off[this.entry[i]];
  }

  isMeant(i) {
    return !this.off[this.entry[i]] && (!this.match || this.match[i] === 1) && (this.spot < 0 || this.entry[i] === this.spot);
  }

  layerOf(i) {
    if (!this.isShown(i)) return HIDDEN;
    return this.selected?.[i] ? SELECTED : this.isMeant(i) ? MEANT : OTHER;
  }

  // Radius in CSS pixels, and opacity, so that points cover about a third of where they are: then they can be told apart.
  grain(k) {
    const density = this.n / (this.area * k * k);
    const most = this.phone ? 4.2 : 4.7, least = Math.max(this.phone ? 1 : 1.15, Math.min(this.phone ? 1.8 : 2.3, 160 / Math.sqrt(this.n)));
    const radius = Math.max(least, Math.min(most, Math.sqrt(0.3 / (Math.PI * density))));
    const cover = Math.PI * radius * radius * density;
    return { radius, alpha: Math.max(0.28, Math.min(0.92, 1.05 / Math.sqrt(Math.max(1, cover)))) };
  }

  // Where the pixels of a disc are, and how much of each it covers, for 4 by 4 places within a pixel.
  disc(radius, halo) {
    const key = `${radius.toFixed(2)} ${halo} ${this.stride}`;
    if (this.discKey === key) return this.discs;
    const outer = radius + halo, reach = Math.ceil(outer + 1), discs = [];
    for (let sub = 0; sub < 16; sub++) {
      const at = [], inside = [], around = [];
      for (let dy = -reach; dy <= reach; dy++) {
        for (let dx = -reach; dx <= reach; dx++) {
          const far = Math.hypot(dx + 0.5 - ((sub & 3) + 0.5) / 4, dy + 0.5 - ((sub >> 2) + 0.5) / 4);
          const cover = (edge) => Math.max(0, Math.min(1, edge + 0.5 - far)) * Math.min(1, 2 * edge);
          if (cover(outer) <= 0.02) continue;
          at.push((dy * this.stride + dx) * 4);
          inside.push(cover(radius));
          around.push(halo ? cover(outer) : 0);
        }
      }
      discs.push({ at: Int32Array.from(at), inside: Float32Array.from(inside), around: Float32Array.from(around) });
    }
    this.discKey = key;
    return (this.discs = discs);
  }

  draw(view, isMoving) {
    const begun = performance.now();
    const { data } = this.image, [r0, g0, b0] = this.paper;
    this.pixels.fill((255 << 24 | b0 << 16 | g0 << 8 | r0) >>> 0);
    const count = isMoving && this.cost > 24 ? Math.min(this.n, Math.max(4000, Math.floor(this.n * 20 / this.cost))) : this.n;
    const { radius, alpha } = this.grain(view.k), { selected } = this;
    const quiet = this.match || this.spot >= 0;
    if (quiet) this.blend(data, view, OTHER, Math.max(1, radius * 0.85), 0, 0.55, count);
    // What is not selected stays behind what is.
    const strength = (quiet ? 0.95 : alpha) * (selected ? 0.4 : 1);
    this.blend(data, view, MEANT, quiet ? Math.max(1.6, radius) : radius, radius > 2.4 && !selected ? 0.9 : 0, strength, this.match ? this.n : count);
    if (selected) this.blend(data, view, SELECTED, Math.max(1.9, radius * 1.15), radius > 1.7 ? 1.3 : 0, 1, count);
    this.context.putImageData(this.image, -this.margin, -this.margin);
    if (count === this.n) this.cost = 0.5 * this.cost + 0.5 * (performance.now() - begun);
    this.place(view);
    return count === this.n;
  }

  // Draw the points of a layer over what is drawn.
  blend(data, view, layer, radius, halo, alpha, count) {
    const discs = this.disc(radius * this.ratio, halo * this.ratio);
    const k = view.k * this.ratio, dx = this.canvas.width / 2 - view.x * k, dy = this.canvas.height / 2 + view.y * k;
    const reach = Math.min(this.margin - 2, 20), right = this.canvas.width + reach, below = this.canvas.height + reach;
    const [pr, pg, pb] = layer === SELECTED ? this.ink : this.paper, { xy, tone, tones, dimmed, margin, stride } = this;
    for (let i = 0; i < count; i++) {
      const x = xy[2 * i] * k + dx, y = dy - xy[2 * i + 1] * k;
      if (x < -reach || y < -reach || x > right || y > below) continue;
      if (this.layerOf(i) !== layer) continue;
      const left = Math.floor(x), top = Math.floor(y);
      const { at, inside, around } = discs[Math.floor((x - left) * 4) + Math.floor((y - top) * 4) * 4];
      const base = ((top + margin) * stride + left + margin) * 4;
      const [r, g, b] = layer === OTHER ? dimmed : tones[tone[i]];
      for (let m = 0; m < at.length; m++) {
        const o = base + at[m], a = inside[m] * alpha, rim = (1 - a) * around[m] * 0.85, rest = 1 - a - rim;
        data[o] = data[o] * rest + r * a + pr * rim;
        data[o + 1] = data[o + 1] * rest + g * a + pg * rim;
        data[o + 2] = data[o + 2] * rest + b * a + pb * rim;
      }
    }
  }

  // Which pictures are drawn is chosen anew where what is drawn has changed.
  forget() {
    this.chosen = new Map();
  }

  // The side of a picture in CSS pixels: it grows as the view is zoomed in.
  pictureSide(zoom) {
    return Math.min(this.phone ? 76 : 108, (this.phone ? 32 : 44) * zoom ** 0.36);
  }

  // Points whose pictures have room at half an octave of zoom. Those of the level before come first, so that a picture
  // stays while the view is zoomed in.
  pick(level, home) {
    if (this.chosen.has(level)) return this.chosen.get(level);
    const zoom = 2 ** (level / 2), near = (this.pictureSide(zoom) * (level < 4 ? 1.5 : 1.25)) / (home.k * zoom);
    const before = level > 0 ? this.pick(level - 1, home) : [];
    const taken = new Map(), found = [], { xy } = this;
    const accept = (i) => {
      const x = xy[2 * i], y = xy[2 * i + 1], column = Math.floor(x / near), row = Math.floor(y / near);
      for (let a = column - 1; a <= column + 1; a++) {
        for (let b = row - 1; b <= row + 1; b++) {
          for (const j of taken.get(a * 1e7 + b) || []) {
            if (Math.max(Math.abs(xy[2 * j] - x), Math.abs(xy[2 * j + 1] - y)) < near) return;
          }
        }
      }
      const key = column * 1e7 + row;
      if (taken.has(key)) taken.get(key).push(i); else taken.set(key, [i]);
      found.push(i);
    };
    for (const i of before) accept(i);
    for (let i = 0; i < this.n; i++) if (this.hasPicture(i) && this.isMeant(i)) accept(i);
    this.chosen.set(level, found);
    return found;
  }

  // Draw pictures at some of the points.
  place(view) {
    this.boxes = [];
    if (!this.pictures || this.spot >= 0) return;
    const home = this.home(), zoom = Math.max(1, view.k / home.k);
    const level = Math.min(24, Math.floor(2 * Math.log2(zoom) + 1e-6));
    const side = this.pictureSide(zoom), { context } = this;
    context.save();
    context.scale(this.ratio, this.ratio);
    for (const i of this.pick(level, home)) {
      const x = (this.xy[2 * i] - view.x) * view.k + this.width / 2, y = this.height / 2 - (this.xy[2 * i + 1] - view.y) * view.k;
      if (x < -side || y < -side || x > this.width + side || y > this.height + side) continue;
      const picture = this.load(i);
      if (!picture.complete || !picture.naturalWidth) continue;
      const scale = side / Math.max(picture.naturalWidth, picture.naturalHeight);
      const w = picture.naturalWidth * scale, h = picture.naturalHeight * scale;
      const box = { i, left: x - w / 2, top: y - h / 2, right: x + w / 2, bottom: y + h / 2 };
      const isSelected = this.selected?.[i];
      context.save();
      this.frame(box, isSelected ? 4 : 2.5, 6);
      context.fillStyle = `rgb(${(isSelected ? this.accent : this.tones[this.tone[i]]).join()})`;
      context.shadowColor = "rgb(0 0 0 / .28)";
      context.shadowBlur = 5 * this.ratio;
      context.shadowOffsetY = 1 * this.ratio;
      context.fill();
      context.restore();
      context.save();
      this.frame(box, 0.5, 4);
      context.clip();
      context.fillStyle = "#fff";
      context.fillRect(box.left - 1, box.top - 1, w + 2, h + 2);
      context.imageSmoothingQuality = "high";
      context.drawImage(picture, box.left, box.top, w, h);
      if (this.glass) {
        context.fillStyle = this.glass;
        context.fillRect(box.left - 1, box.top - 1, w + 2, h + 2);
      }
      context.restore();
      if (this.selected && !isSelected) {
        this.frame(box, 2.5, 6);
        context.fillStyle = `rgb(${this.paper.join()} / .66)`.replaceAll(",", " ");
        context.fill();
      }
      this.boxes.push(box);
    }
    context.restore();
  }

  frame(box, wider, radius, context = this.context) {
    context.beginPath();
    const shape = [box.left - wider, box.top - wider, box.right - box.left + 2 * wider, box.bottom - box.top + 2 * wider];
    if (context.roundRect) context.roundRect(...shape, radius); else context.rect(...shape);
  }

  load(i) {
    let picture = this.loaded.get(i);
    if (!picture) {
      picture = new Image();
      picture.onload = () => this.onpicture();
      picture.src = this.pictureOf(i);
      this.loaded.set(i, picture);
      // Some hundreds are on the screen; the oldest go first.
      if (this.loaded.size > 1500) this.loaded.delete(this.loaded.keys().next().value);
    }
    return picture;
  }

  // The point at a place of the canvas, in CSS pixels; -1 where there is none.
  at(view, px, py, reach) {
    for (let b = this.boxes.length - 1; b >= 0; b--) {
      const box = this.boxes[b];
      if (px >= box.left && px <= box.right && py >= box.top && py <= box.bottom) return box.i;
    }
    const [found] = this.nearest(view.x + (px - this.width / 2) / view.k, view.y - (py - this.height / 2) / view.k, reach / view.k, 1);
    return found ?? -1;
  }

  // The points nearest to a place of the plane that are meant, so many at most, within some distance.
  nearest(x, y, reach, count, accept = () => true) {
    const [c0, r0] = this.cellOf(x - reach, y - reach), [c1, r1] = this.cellOf(x + reach, y + reach), found = [];
    for (let row = r0; row <= r1; row++) {
      for (let at = this.starts[row * this.side + c0]; at < this.starts[row * this.side + c1 + 1]; at++) {
        const i = this.items[at], far = Math.hypot(this.xy[2 * i] - x, this.xy[2 * i + 1] - y);
        if (far <= reach && this.isMeant(i) && accept(i)) found.push([far, i]);
      }
    }
    return found.sort((one, other) => one[0] - other[0]).slice(0, count).map((one) => one[1]);
  }

  screen(view, i) {
    return [(this.xy[2 * i] - view.x) * view.k + this.width / 2, this.height / 2 - (this.xy[2 * i + 1] - view.y) * view.k];
  }

  // Rings around points, [i, width] each, on a canvas above: drawn anew without the points.
  ring(context, view, marked, paper, ink) {
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    const { radius } = this.grain(view.k);
    for (const [i, wide] of marked) {
      if (i < 0) continue;
      const box = this.boxes.find((one) => one.i === i), [x, y] = this.screen(view, i);
      if (box) this.frame(box, 4, 8, context);
      else {
        context.beginPath();
        context.arc(x, y, Math.max(6, radius + 3), 0, 7);
      }
      for (const [width, style] of [[wide + 2, paper], [wide, ink]]) {
        context.lineWidth = width;
        context.strokeStyle = style;
        context.stroke();
      }
    }
  }

  // On a screen that is higher than wide a map that is wider than high is turned: its axes have no names.
  static turn(xy, box) {
    const least = [Infinity, Infinity], most = [-Infinity, -Infinity];
    xy.forEach((value, at) => { least[at % 2] = Math.min(least[at % 2], value); most[at % 2] = Math.max(most[at % 2], value); });
    if (box.height < 1.1 * box.width || most[0] - least[0] < 1.1 * (most[1] - least[1])) return;
    for (let i = 0; i < xy.length / 2; i++) [xy[2 * i], xy[2 * i + 1]] = [xy[2 * i + 1], -xy[2 * i]];
  }
}
