// The grid by keyboard: arrows move, Enter opens, x and Shift+arrows select.

/** Let a grid be used by keyboard. `onselect(index, event)` and `onall()` are told, and `onopen(index)`. */
export function addKeys(grid, { onselect, onopen, onall }) {
  grid.layer.addEventListener("keydown", (event) => {
    const from = grid.active;
    const to = target(grid, event.key);
    if (event.altKey || !grid.count) return;
    if (to !== null && !event.ctrlKey && !event.metaKey) {
      grid.go(to);
      if (event.shiftKey) onselect(grid.active, { shiftKey: true, from });
    } else if (event.key === "Enter") onopen(from);
    else if ((event.key === "x" || event.key === " ") && !event.ctrlKey && !event.metaKey)
      onselect(from, { shiftKey: event.shiftKey, from });
    else if (event.key === "a" && (event.ctrlKey || event.metaKey)) onall();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
}

function target(grid, key) {
  const { active, count, sizes } = grid;
  const screen = Math.max(1, Math.floor(grid.element.clientHeight / sizes.step)) * sizes.columns;
  // Above the first row and below the last one there is nothing; from above a short last row the last one is reached.
  const down = (by) => {
    const isLastRow = Math.floor(active / sizes.columns) === Math.floor((count - 1) / sizes.columns);
    return isLastRow ? active : Math.min(count - 1, active + by);
  };
  switch (key) {
    case "ArrowRight":
      return Math.min(count - 1, active + 1);
    case "ArrowLeft":
      return Math.max(0, active - 1);
    case "ArrowDown":
      return down(sizes.columns);
    case "ArrowUp":
      return active < sizes.columns ? active : active - sizes.columns;
    case "PageDown":
      return Math.min(count - 1, active + screen);
    case "PageUp":
      return Math.max(0, active - screen);
    case "Home":
      return 0;
    case "End":
      return count - 1;
    default:
      return null;
  }
}
