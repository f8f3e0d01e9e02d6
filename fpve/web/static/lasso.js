// A free polygon that is drawn over a map; what is inside of it is selected.

// Points of the line that are nearer to each other than so many pixels tell nothing new, and cost time.
const FINE = 3;
// A line that stays within so many pixels was a click.
const CLICK = 6;

/** Takes what a pointer draws, as a Camera's `tool`: while it is on, or with Shift. */
export class Lasso {
  /** `onmove()`: there is more to draw. `onend({contains, adds})`: closed; what it contains is to be selected. `onclick`: it was none. */
  constructor({ onmove, onend, onclick }) {
    this.isOn = false;
    this.line = [];
    Object.assign(this, { onmove, onend, onclick });
  }

  begin(x, y, event) {
    if (!this.isOn && !event.shiftKey) return false;
    this.adds = event.altKey || event.ctrlKey || event.metaKey;
    this.line = [[x, y]];
    return true;
  }

  move(x, y) {
    const [px, py] = this.line.at(-1);
    if (Math.hypot(x - px, y - py) < FINE) return;
    this.line.push([x, y]);
    this.onmove();
  }

  end(isCancelled) {
    const { line, adds } = this, bounds = boundsOf(line);
    this.line = [];
    this.onmove();
    if (isCancelled) return;
    if (bounds.right - bounds.left < CLICK && bounds.below - bounds.top < CLICK) return this.onclick(...line[0]);
    this.onend({ contains: (x, y) => contains(line, bounds, x, y), adds });
  }

  /** Draw what there is of it so far: closed, as it would be if it ended here. */
  draw(context, { line: colour, fill }) {
    if (this.line.length < 2) return;
    context.beginPath();
    for (const [x, y] of this.line) context.lineTo(x, y);
    context.globalAlpha = 0.14;
    context.fillStyle = fill;
    context.fill("evenodd");
    context.globalAlpha = 1;
    context.lineWidth = 2;
    context.lineJoin = "round";
    context.strokeStyle = colour;
    context.stroke();
    // The side that closes it is not drawn by the hand.
    context.beginPath();
    context.moveTo(...this.line.at(-1));
    context.lineTo(...this.line[0]);
    context.setLineDash([5, 5]);
    context.stroke();
    context.setLineDash([]);
  }
}

function boundsOf(line) {
  const xs = line.map(([x]) => x), ys = line.map(([, y]) => y);
  return { left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), below: Math.max(...ys) };
}

/** Whether a point is inside: a ray from it crosses the line an odd number of times. */
function contains(line, { left, right, top, below }, x, y) {
  if (x < left || x > right || y < top || y > below) return false;
  let isInside = false;
  for (let i = 0, j = line.length - 1; i < line.length; j = i++) {
    const [ax, ay] = line[i], [bx, by] = line[j];
    if (ay > y !== by > y && x < (bx - ax) * (y - ay) / (by - ay) + ax) isInside = !isInside;
  }
  return isInside;
}
