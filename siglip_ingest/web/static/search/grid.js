// The grid of results: only the rows near the window are in the document, and the keyboard goes through all of them.
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/htm-preact.js";
import { useLasso } from "./lasso.js";
import { placeTiles, rowOf, rowsBetween, step } from "./layout.js";
import { Tile } from "./tile.js";

const ABOVE = 500; // CSS pixels beyond the window whose rows are there already
const BELOW = 900;
const AHEAD = 1600; // from here to the end the next page is asked for
const MOVES = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown"]);

/** The width of an element, as it changes; 0 before it is known. */
function useWidth(element) {
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const measure = () => setWidth(Math.floor(element.current.getBoundingClientRect().width));
    const observer = new ResizeObserver(measure);
    observer.observe(element.current);
    measure();
    return () => observer.disconnect();
  }, []);
  return width;
}

/** The rows that are near the window, as it is scrolled: [first, last + 1]. */
function useNearRows(element, rows) {
  const find = () => {
    const top = element.current ? -element.current.getBoundingClientRect().top : 0;
    return rowsBetween(rows, top - ABOVE, top + innerHeight + BELOW);
  };
  const [near, setNear] = useState([0, 0]);
  useLayoutEffect(() => {
    let frame = null;
    const update = () => {
      frame = null;
      const next = find();
      setNear((before) => (before[0] === next[0] && before[1] === next[1] ? before : next));
    };
    const schedule = () => {
      frame ??= requestAnimationFrame(update);
    };
    update();
    addEventListener("scroll", schedule, { passive: true });
    addEventListener("resize", schedule);
    return () => {
      cancelAnimationFrame(frame);
      removeEventListener("scroll", schedule);
      removeEventListener("resize", schedule);
    };
  }, [rows]);
  return near;
}

/**
 * The grid.
 *
 * `actions` has open(index), more(index), unfold(index), and `selection` what useSelection gives. `handle.current`
 * gets {focus()}, which brings the keyboard here. `isStale` dims what belongs to the query before.
 */
export function Grid({ matches, listKey, hasMore, loadMore, selection, actions, isStale, label, handle, onPlaced, area }) {
  const element = useRef();
  const end = useRef();
  const width = useWidth(element);
  const { rows, height } = useMemo(() => (width ? placeTiles(matches, width, hasMore) : { rows: [], height: 0 }), [matches, width, hasMore]);
  const isPlaced = rows.length > 0;
  useLayoutEffect(() => {
    if (isPlaced) onPlaced?.(height);
  }, [listKey, height, isPlaced]);
  const [first, last] = useNearRows(element, rows); // after the page was scrolled to where it belongs
  const [active, setActive] = useState(0);
  const wantsFocus = useRef(false);
  const [, draw] = useState(0);

  useEffect(() => setActive(0), [listKey]);

  useEffect(() => {
    if (!hasMore) return undefined;
    const observer = new IntersectionObserver((seen) => seen.some((each) => each.isIntersecting) && loadMore(), {
      rootMargin: `0px 0px ${AHEAD}px`,
    });
    observer.observe(end.current);
    return () => observer.disconnect();
  }, [hasMore, listKey, matches.length]);

  const bring = (index) => {
    const row = rows[rowOf(rows, index)];
    if (!row) return;
    wantsFocus.current = true;
    setActive(index);
    draw((before) => before + 1); // also where it was the active one already
    const top = element.current.getBoundingClientRect().top + row.top;
    const under = 84; // the search box stays at the top
    if (top < under) scrollBy(0, top - under);
    else if (top + row.height > innerHeight - 24) scrollBy(0, top + row.height - innerHeight + 24);
  };

  useLayoutEffect(() => {
    if (!wantsFocus.current) return;
    const tile = element.current.querySelector(`[data-index="${active}"]`);
    if (!tile) return; // its row comes with the scrolling
    wantsFocus.current = false;
    tile.focus({ preventScroll: true });
  });

  handle.current = { focus: () => isPlaced && bring(Math.min(active, matches.length - 1)), bring };

  const onKeyDown = (event) => {
    const tile = event.target.closest("[data-index]");
    if (!tile || event.altKey) return;
    const index = Number(tile.dataset.index);
    const isCommand = event.ctrlKey || event.metaKey;
    if (MOVES.has(event.key)) {
      const key = isCommand ? { Home: "First", End: "Last" }[event.key] ?? event.key : event.key;
      const target = step(rows, index, key, Math.max(Math.floor(innerHeight / rows[0].height) - 1, 1));
      if (target === index && event.key === "ArrowUp" && rowOf(rows, index) === 0) return;
      if (event.shiftKey) selection.extend(index, target);
      bring(target);
      if (rowOf(rows, target) >= rows.length - 2) loadMore();
    } else if (isCommand && event.key === "a") {
      selection.selectAll();
    } else if (isCommand || event.target !== tile) {
      return;
    } else if (event.key === "Enter") {
      actions.open(index);
    } else if (event.key === "x" || event.key === " ") {
      selection.toggle(index);
    } else if (event.key === "m") {
      actions.more(index);
    } else if (event.key === "u" && matches[index].duplicates.length) {
      actions.unfold(index);
    } else {
      return;
    }
    event.preventDefault();
  };

  const place = useRef(null);
  place.current = { rows, element };
  useLasso(area, place, matches, selection);

  // The same functions each time, or every tile would be drawn again; they look the newest ones up.
  const latest = useRef();
  latest.current = { actions, selection };
  const on = useMemo(() => ({
    press: (index, event) => latest.current.selection.press(index, event) || latest.current.actions.open(index),
    toggle: (index, event) => (event.shiftKey ? latest.current.selection.extendTo(index) : latest.current.selection.toggle(index)),
    more: (index) => latest.current.actions.more(index),
    unfold: (index) => latest.current.actions.unfold(index),
    focus: setActive,
  }), []);

  const shown = rows.slice(first, last);
  const activeRow = rowOf(rows, active);
  const reachable = activeRow >= first && activeRow < last ? active : shown[0]?.tiles[0].index; // Tab finds a tile
  return html`
    <div
      ref=${element} class=${`grid ${isStale ? "is-stale" : ""} ${selection.ids.size ? "is-selecting" : ""}`} style=${{ height: `${height}px` }}
      data-request=${listKey} role=${isPlaced ? "grid" : undefined} aria-label=${isPlaced ? label : undefined} aria-busy=${isStale} aria-multiselectable=${isPlaced ? "true" : undefined}
      aria-rowcount=${isPlaced ? (hasMore ? -1 : rows.length) : undefined} onKeyDown=${onKeyDown}
    >
      ${shown.map((row, place) => html`<div
        key=${`${listKey} ${first + place}`} role="row" aria-rowindex=${first + place + 1} class="row" style=${{ transform: `translateY(${row.top}px)`, height: `${row.height}px` }}
      >
        ${row.tiles.map((tile) => html`<${Tile}
          key=${matches[tile.index].image_id} ...${tile} height=${row.height} match=${matches[tile.index]} on=${on}
          isActive=${tile.index === reachable} isSelected=${selection.ids.has(matches[tile.index].image_id)}
        />`)}
      </div>`)}
    </div>
    <div ref=${end} class="grid-end"></div>
  `;
}
