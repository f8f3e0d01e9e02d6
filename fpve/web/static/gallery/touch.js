// A finger that rests on a tile selects it: there is nothing to hover over.

const REST = 450;
const STILL = 8;

/** `onselect(index, event)` is told of the tile that a finger rested on. */
export function addTouch(grid, { onselect }) {
  let timer = 0;
  let from = null;
  let isDone = false;
  const stop = () => clearTimeout(timer);
  grid.layer.addEventListener("pointerdown", (event) => {
    isDone = false;
    stop();
    const node = event.target.closest(".tile")?.node;
    if (event.pointerType !== "touch" || !node?.tile.row) return;
    from = [event.clientX, event.clientY];
    timer = setTimeout(() => {
      isDone = true;
      navigator.vibrate?.(10);
      onselect(node.index, { shiftKey: false });
    }, REST);
  });
  grid.layer.addEventListener("pointermove", (event) => {
    if (from && Math.hypot(event.clientX - from[0], event.clientY - from[1]) > STILL) stop();
  });
  grid.layer.addEventListener("pointerup", stop);
  grid.layer.addEventListener("pointercancel", stop);
  // The click that ends it opens nothing, and the browser's own menu stays away.
  grid.layer.addEventListener(
    "click",
    (event) => {
      if (isDone) {
        isDone = false;
        event.stopPropagation();
      }
    },
    { capture: true },
  );
  grid.layer.addEventListener("contextmenu", (event) => {
    if (isDone) event.preventDefault();
  });
}
