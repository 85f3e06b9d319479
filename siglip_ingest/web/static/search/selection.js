// Which images are selected, and the bar that says what can be done with them.
import { IconButton, Icon, countOf } from "../ui.js";
import { html, useEffect, useRef, useState } from "../vendor/htm-preact.js";

/** The selection among some matches; it is empty again when `listKey` changes. */
export function useSelection(matches, listKey) {
  const [ids, set] = useState(() => new Set());
  const anchor = useRef(null); // an image's id: ranges go from here
  useEffect(() => {
    set((before) => (before.size ? new Set() : before));
    anchor.current = null;
  }, [listKey]);

  const range = (from, to) => matches.slice(Math.min(from, to), Math.max(from, to) + 1).map((match) => match.image_id);
  const anchored = (otherwise) => {
    const index = matches.findIndex((match) => match.image_id === anchor.current);
    return index < 0 ? otherwise : index;
  };
  const toggle = (index) => {
    const id = matches[index].image_id;
    anchor.current = id;
    set((before) => {
      const next = new Set(before);
      if (!next.delete(id)) next.add(id);
      return next;
    });
  };
  const extendTo = (index) => {
    const from = anchored(index);
    anchor.current ??= matches[index].image_id;
    set((before) => new Set([...before, ...range(from, index)]));
  };
  return {
    ids, set, toggle, extendTo,
    clear: () => set(new Set()),
    selectAll: () => set(new Set(matches.map((match) => match.image_id))),
    /** By the keyboard: from where the range began to `to`. */
    extend: (from, to) => {
      anchor.current ??= matches[from].image_id;
      set(new Set(range(anchored(from), to)));
    },
    /** A click on a tile; whether it was about the selection. */
    press: (index, event) => {
      if (event.shiftKey) extendTo(index);
      else if (event.ctrlKey || event.metaKey || ids.size) toggle(index);
      else return false;
      return true;
    },
  };
}

/** The near-duplicates of the selected images that are folded below them, out of sight: a Set of their ids. */
export function foldedBelow(matches, ids) {
  const shown = new Set(matches.map((match) => match.image_id));
  const chosen = matches.filter((match) => ids.has(match.image_id));
  return new Set(chosen.flatMap((match) => match.duplicates).filter((id) => !shown.has(id)));
}

/** What can be done with the selected images; nothing where there are none. `folded` are out of sight below them. */
export function SelectionBar({ selection, folded, mayChange, shown, onTag, onMark, onDelete }) {
  const count = selection.ids.size;
  return html`
    <p class="hidden-text" role="status">${count ? `${countOf(count, "image")} selected` : ""}</p>
    ${count > 0 &&
    html`<div class="selection-bar no-lasso" role="toolbar" aria-label="Selected images">
      <${IconButton} icon="close" label="Clear the selection (Escape)" onClick=${selection.clear} />
      <strong class="numbers">${countOf(count, "image")}</strong>
      ${folded.size > 0 && html`<span class="quiet numbers">${countOf(folded.size, "near-duplicate")} folded</span>`}
      ${count < shown && html`<button type="button" class="button small plain" onClick=${selection.selectAll}>Select all ${shown} shown</button>`}
      ${mayChange && html`<span class="selection-actions">
        <button type="button" class="button small" onClick=${onTag}><${Icon} name="tag" size=${17} />Tag</button>
        <button type="button" class="button small" onClick=${onMark}><${Icon} name="label" size=${17} />Mark</button>
        <button type="button" class="button small" onClick=${onDelete}><${Icon} name="trash" size=${17} />Delete</button>
      </span>`}
    </div>`}
  `;
}
