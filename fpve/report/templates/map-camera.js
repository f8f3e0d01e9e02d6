// Where a map is looked at from: moved by dragging, pinching, the wheel and keys, and drawn again when it has been.
// A page hands itself what happens: `onpoint(i, x, y)` for the point under a mouse, -1 where there is none;
// `onpick(i, event)` for one that was clicked or tapped; `ondraw()` after each drawing.
class Camera {
  constructor(plot) {
    this.plot = plot;
    this.canvas = plot.canvas;
    this.view = { x: 0, y: 0, k: 1 };
    this.isMoving = this.isDrawing = false;
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.onpoint = this.onpick = this.ondraw = () => {};
    this.tool = null; // takes what a pointer draws, where it wants to: begin(x, y, event), move(x, y), end(isCancelled)
    this.timer = this.frame = this.flight = 0;
    this.down = new Map(); // where each pointer is that is held
    this.lastTap = { at: -Infinity, x: 0, y: 0 };
    this.listen();
  }

  redraw() {
    if (!this.plot.width) return; // before the first resize, which draws
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      const whole = this.plot.draw(this.view, this.isMoving);
      this.ondraw();
      if (!whole) this.settle();
    });
  }

  // All points are drawn when the map has stood still for a moment.
  settle() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { this.isMoving = false; this.redraw(); }, 140);
  }

  // The canvas has another size; what was seen stays in the middle.
  resize() {
    if (!this.canvas.clientWidth) return; // it is hidden
    const before = this.plot.width ? this.plot.home().k : null;
    this.plot.resize();
    const home = this.plot.home();
    this.view = before === null ? home : { ...this.view, k: this.view.k * home.k / before };
    // At once: a canvas that was resized is empty.
    this.plot.draw(this.view, false);
    this.ondraw();
  }

  limited(k) {
    const home = this.plot.home();
    return Math.max(home.k * 0.5, Math.min(home.k * 800, k));
  }

  look(next) {
    const { bounds } = this.plot;
    const within = (value, low, high) => Math.max(low, Math.min(high, value));
    this.view = { x: within(next.x, bounds.left, bounds.right), y: within(next.y, bounds.low, bounds.high), k: this.limited(next.k) };
    this.isMoving = true;
    this.settle();
    this.redraw();
  }

  // The view of another scale in which the same of the plane is at a place of the canvas.
  around(k, px, py, from = this.view, [fx, fy] = [px, py]) {
    const { width, height } = this.plot;
    const x = from.x + (fx - width / 2) / from.k, y = from.y - (fy - height / 2) / from.k;
    return { x: x - (px - width / 2) / k, y: y + (py - height / 2) / k, k };
  }

  stop() {
    cancelAnimationFrame(this.flight);
  }

  fly(to) {
    this.stop();
    if (this.calm.matches) return this.look(to);
    const from = { ...this.view }, begun = performance.now();
    const step = (now) => {
      const t = Math.min(1, Math.max(0, (now - begun) / 320)), eased = 1 - (1 - t) ** 3, k = from.k * (to.k / from.k) ** eased;
      // Straight on the screen, though the scale changes.
      const share = Math.abs(to.k - from.k) < 1e-9 * from.k ? eased : (1 / from.k - 1 / k) / (1 / from.k - 1 / to.k);
      this.look({ x: from.x + (to.x - from.x) * share, y: from.y + (to.y - from.y) * share, k });
      if (t < 1) this.flight = requestAnimationFrame(step);
    };
    this.flight = requestAnimationFrame(step);
  }

  zoom(factor, px = this.plot.width / 2, py = this.plot.height / 2) {
    this.fly(this.around(this.view.k * factor, px, py));
  }

  home() {
    this.fly(this.plot.home());
  }

  // Bring a point into view, if it is not.
  reveal(i) {
    const { plot, view } = this, [x, y] = plot.screen(view, i);
    if (x < 30 || y < 30 || x > plot.width - 30 || y > plot.height - 30) this.fly({ x: plot.xy[2 * i], y: plot.xy[2 * i + 1], k: view.k });
  }

  // The point nearest to the middle; -1 where there is none.
  middle() {
    const { plot, view } = this;
    return plot.nearest(view.x, view.y, Math.min(plot.width, plot.height) / 2 / view.k, 1)[0] ?? -1;
  }

  // Move or zoom by a key; whether it is one that does.
  press(key) {
    // So many pixels at once.
    const step = 90 / this.view.k, moved = (x, y) => () => this.fly({ ...this.view, x: this.view.x + x, y: this.view.y + y });
    const keys = {
      ArrowLeft: moved(-step, 0), ArrowRight: moved(step, 0), ArrowUp: moved(0, step), ArrowDown: moved(0, -step),
      "+": () => this.zoom(1.6), "=": () => this.zoom(1.6), "-": () => this.zoom(1 / 1.6), 0: () => this.home(), Home: () => this.home(),
    };
    keys[key]?.();
    return key in keys;
  }

  // A box beside a place of the canvas, on the side where there is room.
  beside(box, px, py) {
    const { width, height } = this.plot, size = box.getBoundingClientRect();
    const left = px + 18 + size.width > width - 8 ? px - 18 - size.width : px + 18;
    box.style.transform = `translate(${Math.max(8, left)}px, ${Math.max(8, Math.min(height - size.height - 8, py - size.height / 3))}px)`;
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  // One pointer moves, two zoom.
  grip(moved) {
    const held = [...this.down.values()], mean = (at) => held.reduce((sum, one) => sum + one[at], 0) / held.length;
    const far = held.length > 1 ? Math.hypot(held[0][0] - held[1][0], held[0][1] - held[1][1]) : 0;
    return { x: mean(0), y: mean(1), far, view: { ...this.view }, moved };
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.take(event));
    canvas.addEventListener("pointermove", (event) => this.follow(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointercancel", (event) => this.release(event));
    canvas.addEventListener("pointerleave", () => this.down.size || this.onpoint(-1));
    canvas.addEventListener("dblclick", (event) => this.zoom(event.shiftKey ? 1 / 2.2 : 2.2, ...this.place(event)));
    canvas.addEventListener("wheel", (event) => this.roll(event), { passive: false });
  }

  take(event) {
    if (event.button) return;
    this.stop();
    this.canvas.setPointerCapture(event.pointerId);
    const place = this.place(event);
    this.down.set(event.pointerId, place);
    // A second finger means to zoom, whatever the first one was at.
    if (this.isDrawing) this.tool.end(true);
    this.isDrawing = this.down.size === 1 && Boolean(this.tool?.begin(...place, event));
    if (this.isDrawing) this.onpoint(-1);
    this.start = this.grip(this.down.size > 1);
  }

  follow(event) {
    const [px, py] = this.place(event), isMouse = event.pointerType === "mouse";
    if (!this.down.has(event.pointerId)) {
      if (isMouse) this.onpoint(this.plot.at(this.view, px, py, 9), px, py);
      return;
    }
    this.down.set(event.pointerId, [px, py]);
    if (this.isDrawing) return this.tool.move(px, py);
    const { start } = this, now = this.grip();
    if (!start.moved && Math.hypot(now.x - start.x, now.y - start.y) < (isMouse ? 3 : 8)) return;
    start.moved = true;
    this.onpoint(-1);
    this.canvas.classList.add("moving");
    const k = this.limited(start.view.k * (start.far ? now.far / start.far : 1));
    this.look(this.around(k, now.x, now.y, start.view, [start.x, start.y]));
  }

  release(event) {
    if (!this.down.delete(event.pointerId)) return;
    const [px, py] = this.place(event), isTouch = event.pointerType !== "mouse", { moved } = this.start, isCancelled = event.type === "pointercancel";
    this.canvas.classList.remove("moving");
    if (this.isDrawing) {
      this.isDrawing = false;
      return this.tool.end(isCancelled);
    }
    if (this.down.size) { this.start = this.grip(true); return; }
    if (moved || isCancelled) return;
    if (isTouch && event.timeStamp - this.lastTap.at < 320 && Math.hypot(px - this.lastTap.x, py - this.lastTap.y) < 30) {
      this.lastTap = { at: -Infinity, x: 0, y: 0 };
      return this.zoom(2.2, px, py);
    }
    this.lastTap = { at: event.timeStamp, x: px, y: py };
    this.onpick(this.plot.at(this.view, px, py, isTouch ? 20 : 9), event);
  }

  roll(event) {
    event.preventDefault();
    this.stop();
    const lines = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
    this.onpoint(-1);
    const factor = Math.exp(-Math.max(-240, Math.min(240, event.deltaY * lines)) * (event.ctrlKey ? 0.01 : 0.0022));
    this.look(this.around(this.limited(this.view.k * factor), ...this.place(event)));
  }
}
