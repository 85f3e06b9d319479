// Selecting by drawing a rectangle that begins beside the tiles.
import { useEffect } from "../vendor/htm-preact.js";

const LEAST = 4; // CSS pixels; less is a click
const EDGE = 48; // so near to the window's edge the page is scrolled

function boxOf(from, to) {
  return { left: Math.min(from.x, to.x), top: Math.min(from.y, to.y), right: Math.max(from.x, to.x), bottom: Math.max(from.y, to.y) };
}

/** The indices of the tiles that a box of the page touches. */
function touched({ rows, element }, box) {
  const at = element.current.getBoundingClientRect();
  const [left, top] = [at.left + scrollX, at.top + scrollY];
  const found = [];
  for (const row of rows) {
    if (top + row.top > box.bottom || top + row.top + row.height < box.top) continue;
    for (const tile of row.tiles) {
      if (left + tile.left <= box.right && left + tile.left + tile.width >= box.left) found.push(tile.index);
    }
  }
  return found;
}

/** Let a mouse draw a lasso in `area` (a ref). `place.current` is {rows, element} of the grid. */
export function useLasso(area, place, matches, selection) {
  useEffect(() => {
    const shown = area.current;
    const begin = (event) => {
      if (event.button !== 0 || event.pointerType !== "mouse" || event.target.closest("[data-index], button, a, input, select, label, dialog, .no-lasso")) return;
      const from = { x: event.pageX, y: event.pageY };
      const before = event.shiftKey || event.ctrlKey || event.metaKey ? selection.ids : new Set();
      let [x, y, frame, drawn] = [event.clientX, event.clientY, null, null];

      const draw = () => {
        frame = null;
        const box = boxOf(from, { x: x + scrollX, y: y + scrollY });
        if (!drawn && Math.max(box.right - box.left, box.bottom - box.top) < LEAST) return;
        if (!drawn) {
          drawn = shown.appendChild(Object.assign(document.createElement("div"), { className: "lasso" }));
          document.documentElement.classList.add("has-lasso");
        }
        const scrolled = y < EDGE ? y - EDGE : Math.max(y - (innerHeight - EDGE), 0);
        if (scrolled) {
          scrollBy(0, scrolled / 3);
          frame = requestAnimationFrame(draw);
        }
        Object.assign(drawn.style, {
          transform: `translate(${box.left - scrollX}px, ${box.top - scrollY}px)`,
          width: `${box.right - box.left}px`,
          height: `${box.bottom - box.top}px`,
        });
        selection.set(new Set([...before, ...touched(place.current, box).map((index) => matches[index].image_id)]));
      };
      const move = (moved) => {
        [x, y] = [moved.clientX, moved.clientY];
        frame ??= requestAnimationFrame(draw);
      };
      const end = () => {
        removeEventListener("pointermove", move);
        removeEventListener("pointerup", end);
        removeEventListener("pointercancel", end);
        if (frame !== null) {
          cancelAnimationFrame(frame);
          draw(); // where the pointer was last
          cancelAnimationFrame(frame);
        }
        if (!drawn && !before.size) selection.clear();
        drawn?.remove();
        document.documentElement.classList.remove("has-lasso");
      };
      addEventListener("pointermove", move);
      addEventListener("pointerup", end);
      addEventListener("pointercancel", end);
    };
    shown.addEventListener("pointerdown", begin);
    return () => shown.removeEventListener("pointerdown", begin);
  }, [matches, selection.ids]);
}
