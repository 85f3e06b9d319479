// The view /: a query, what narrows it, its results, and one of them large.
import { useMay } from "../api.js";
import { followLink, navigate } from "../router.js";
import { Icon, IconButton, countOf, formatCount, toast } from "../ui.js";
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/htm-preact.js";
import { DeleteDialog, MarkDialog, TagDialog } from "./actions.js";
import { useDrop } from "./drop.js";
import { NoResults } from "./empty.js";
import { Filters } from "./filters.js";
import { Grid } from "./grid.js";
import { Help } from "./help.js";
import { Lightbox } from "./lightbox.js";
import { QueryBox } from "./query.js";
import { useResults } from "./results.js";
import { useScroll } from "./scroll.js";
import { useSeen } from "./seen.js";
import { SelectionBar, foldedBelow, useSelection } from "./selection.js";
import { EMPTY, hasQuery, lacksWanted, readState, toRequest, writeState } from "./state.js";

const DIM_MS = 300; // after which results of the query before are dimmed
const SAME_TYPING_MS = 2500; // within which typing changes the same entry of the history

/** Whether something has been true for a while. */
function useLasting(value, ms) {
  const [lasts, setLasts] = useState(false);
  useEffect(() => {
    setLasts(false);
    if (!value) return undefined;
    const timer = setTimeout(() => setLasts(true), ms);
    return () => clearTimeout(timer);
  }, [value]);
  return value && lasts;
}

/** The state that the address says, and what changes it: `change(changes, {replace})`. */
function useAddress(place) {
  const written = String(place.query);
  const state = useMemo(() => readState(place.query), [written]);
  const latest = useRef(state);
  latest.current = state;
  const typedAt = useRef(0);
  const change = (changes, { replace = false, state: kept } = {}) => {
    const next = { ...latest.current, ...changes };
    if (writeState(next) === writeState(latest.current)) return;
    latest.current = next;
    navigate(writeState(next), { replace, state: kept });
  };
  const type = (text) => {
    const isSame = Date.now() - typedAt.current < SAME_TYPING_MS;
    change({ text, image: null }, { replace: isSame });
    typedAt.current = Date.now();
  };
  return { state, change, type };
}

/** What is said beside the filters, and to screen readers: how many there are. */
function Summary({ results, state }) {
  const { list, matches, hasMore, isPending, error } = results;
  if (list.key === null || error || lacksWanted(state)) return html`<p class="summary" role="status"></p>`;
  const total = list.total ?? (hasMore ? null : matches.length);
  const text = total === null ? `More than ${countOf(matches.length, "image")}` : countOf(total, "image");
  const took = list.tookMs !== null && hasQuery(state) && !isPending ? ` in ${formatCount(Math.round(list.tookMs))} ms` : "";
  // New elements each time: one whose text is aligned at its end would move.
  return html`<p class="summary quiet numbers" role="status"><span key=${text + took}>${text}<span class="took" aria-hidden="true">${took}</span></span>${list.failed > 0 && html`, <a href="/ingest" onClick=${followLink}>${formatCount(list.failed)} failed</a>`}</p>`;
}

const DIALOGS = { tag: TagDialog, mark: MarkDialog, delete: DeleteDialog };

export function SearchView({ place }) {
  const { state, change, type } = useAddress(place);
  const request = useMemo(() => toRequest(state), [writeState({ ...state, image: null })]);
  const results = useResults(request, place.isReturn);
  const { list, matches, error, isPending, hasMore, loadMore } = results;
  const selection = useSelection(matches, list.key);
  const folded = useMemo(() => foldedBelow(matches, selection.ids), [matches, selection.ids]);
  const mayChange = useMay("write");
  const seen = useSeen(list.matches);
  const [shownDialog, showDialog] = useState(null); // tag, mark, delete or help
  const isStale = useLasting(isPending && list.key !== null, DIM_MS);
  const input = useRef();
  const area = useRef();
  const grid = useRef({ focus: () => {}, bring: () => {} });
  const onPlaced = useScroll(place, list.key, hasMore, loadMore);

  const drop = useDrop((id, isPart) => {
    const added = { kind: "upload", value: id, weight: 1 };
    if (isPart) change({ parts: [...state.parts, added], image: null });
    else change({ text: "", parts: [added], image: null });
  });
  const open = (index) => change({ image: matches[index].image_id }, { state: { isOpened: true } });
  const more = (id) => change({ text: "", parts: [{ kind: "image", value: id, weight: 1 }], image: null });
  const close = () => {
    const index = matches.findIndex((match) => match.image_id === state.image);
    if (place.state.isOpened) history.back();
    else change({ image: null }, { replace: true });
    if (index >= 0) setTimeout(() => grid.current.bring(index), 30); // when the dialog is gone
  };
  const unfold = (match) => results.unfold(match).catch((failure) => toast(failure.detail ?? String(failure), { tone: "danger" }));

  const press = useRef();
  press.current = (event) => {
    const isTyping = event.target.closest?.("input, select, textarea, dialog");
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") input.current.select();
    else if (event.key === "?") showDialog("help");
    else if (!selection.ids.size) return;
    else if (event.key === "Escape") selection.clear();
    else if (!mayChange) return;
    else if (event.key === "t") showDialog("tag");
    else if (event.key === "Delete" && !event.target.closest?.(".query")) showDialog("delete");
    else return;
    event.preventDefault();
  };
  useEffect(() => {
    const onKeyDown = (event) => press.current(event);
    addEventListener("keydown", onKeyDown);
    return () => removeEventListener("keydown", onKeyDown);
  }, []);
  useLayoutEffect(() => {
    if (matchMedia("(pointer: fine)").matches && !place.isReturn && state.image === null) input.current.focus({ preventScroll: true });
  }, []);
  useEffect(() => {
    document.title = state.text ? `${state.text} – siglip_ingest` : "siglip_ingest";
  }, [state.text]);

  const ActionDialog = DIALOGS[shownDialog];
  const isEmpty = !matches.length && (error || (!isPending && list.key !== null));
  return html`<main id="main" class="search" ref=${area}>
    <h1 class="hidden-text">Search images</h1>
    <div class="query-place">
      <${QueryBox}
        state=${state} input=${input} isPending=${isPending} isUploading=${drop.isUploading}
        onTyped=${type} onParts=${(parts, text, replace) => change({ parts, text, image: null }, { replace })} onImage=${(file) => drop.upload(file, true)}
        onClear=${() => change({ text: "", parts: [], minScore: 0 })} onLeave=${() => grid.current.focus()}
      />
      <${IconButton} icon="help" label="Keys (?)" class="help-button" onClick=${() => showDialog("help")} />
    </div>
    <${Filters} state=${state} change=${change} seen=${seen} summary=${html`<${Summary} results=${results} state=${state} />`} />
    ${error && matches.length > 0 && error.status !== 0 &&
    html`<p class="trouble" role="alert">${error.detail} <button type="button" class="button small" onClick=${results.again}>Try again</button></p>`}
    ${list.key === null && !error && html`<p class="first-wait" role="status"><span class="hidden-text">Searching</span><span class="spin"><${Icon} name="refresh" size=${26} /></span></p>`}
    ${isEmpty
      ? html`<${NoResults} state=${state} change=${change} error=${error} again=${results.again} failed=${list.failed} />`
      : html`<${Grid}
        matches=${matches} listKey=${list.key} hasMore=${hasMore} loadMore=${loadMore} selection=${selection} isStale=${isStale} handle=${grid} area=${area} onPlaced=${onPlaced}
        label=${hasQuery(state) ? "Results" : "Images"}
        actions=${{ open, more: (index) => more(matches[index].image_id), unfold: (index) => unfold(matches[index]) }}
      />`}
    <${SelectionBar} selection=${selection} folded=${folded} mayChange=${mayChange} shown=${matches.length} onTag=${() => showDialog("tag")} onMark=${() => showDialog("mark")} onDelete=${() => showDialog("delete")} />
    ${state.image !== null && html`<${Lightbox}
      imageId=${state.image} matches=${matches} state=${state} onClose=${close} onMore=${more}
      onShow=${(id, index) => { change({ image: id }, { replace: true, state: place.state }); if (index >= matches.length - 3) loadMore(); }}
      onFilter=${(key, value) => change({ filter: { ...EMPTY.filter, ...state.filter, [key]: value }, image: null })}
    />`}
    ${ActionDialog && html`<${ActionDialog} selected=${selection.ids} folded=${folded} seen=${seen} change=${(edit) => { results.change(edit); selection.clear(); }} onClose=${() => showDialog(null)} />`}
    ${shownDialog === "help" && html`<${Help} onClose=${() => showDialog(null)} />`}
    ${drop.isOver && html`<div class="drop-over" aria-hidden="true"><p>Drop an image to search by it</p></div>`}
  </main>`;
}
