// One image, large, with what is known of it.
import { hasKey, open, useAnswer } from "../api.js";
import { Thumbnail, thumbnailOf } from "../thumbnail.js";
import { Icon, IconButton, toast } from "../ui.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "../vendor/htm-preact.js";
import { Facts } from "./facts.js";
import { HeatMap, useHeat } from "./heat.js";
import { wordsOf } from "./state.js";

const LARGE = 1280;
const LEAST_SWIPE = 48; // CSS pixels
const MOST_ENLARGED = 3;

/** The size of an image within a box that is measured: it is known before the image is there. */
function useFit(box, match) {
  const [room, setRoom] = useState(null);
  useLayoutEffect(() => {
    const measure = () => setRoom({ width: box.current.clientWidth, height: box.current.clientHeight });
    const observer = new ResizeObserver(measure);
    observer.observe(box.current);
    measure();
    return () => observer.disconnect();
  }, []);
  if (!room || !match?.width) return room && { width: Math.min(room.width, room.height), height: Math.min(room.width, room.height) };
  const scale = Math.min(room.width / match.width, room.height / match.height, MOST_ENLARGED);
  return { width: Math.round(match.width * scale), height: Math.round(match.height * scale) };
}

/** With a key the file is fetched first: a link can't send one. */
async function download(event, match) {
  if (!hasKey()) return;
  event.preventDefault();
  try {
    const blob = await (await open(match.original)).blob();
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: match.name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  } catch (error) {
    toast(error.detail ?? String(error), { tone: "danger" });
  }
}

/**
 * The lightbox.
 *
 * `matches` are the results, among which left and right go; `imageId` may be another image, which a link named.
 */
export function Lightbox({ imageId, matches, state, onShow, onClose, onMore, onFilter }) {
  const dialog = useRef();
  const stage = useRef();
  const index = matches.findIndex((match) => match.image_id === imageId);
  const { data: alone, error } = useAnswer(index < 0 ? `/v1/images/${imageId}` : null);
  const match = index < 0 ? (alone?.image_id === imageId ? alone : null) : matches[index];
  const fit = useFit(stage, match);
  const text = wordsOf(state);
  const [wantsHeat, setWantsHeat] = useState(false);
  const { map, error: heatError, isGone } = useHeat(imageId, text, wantsHeat);
  const isDeleted = index < 0 && error?.status === 404;
  const hidden = isDeleted ? { visibility: "hidden" } : undefined; // nothing can be done with it, and nothing moves
  const touch = useRef(null);

  useLayoutEffect(() => {
    const shown = dialog.current;
    shown.showModal();
    shown.focus(); // for its keys, without a ring around its first button
    return () => shown.close();
  }, []);
  useEffect(() => {
    if (hasKey()) return;
    for (const next of [matches[index + 1], matches[index - 1]]) {
      if (index >= 0 && next) new Image().src = `${next.thumbnail}&size=${LARGE}`;
    }
  }, [imageId]);

  const go = (steps) => {
    const next = matches[index + steps];
    if (index >= 0 && next) onShow(next.image_id, index + steps);
  };
  const onKeyDown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowLeft") go(-1);
    else if (event.key === "ArrowRight") go(1);
    else if (isDeleted) return;
    else if (event.key === "m") onMore(imageId);
    else if (event.key === "h" && text && !isGone) setWantsHeat(!wantsHeat);
    else return;
    event.preventDefault();
  };
  const onTouchEnd = (event) => {
    const moved = touch.current === null ? 0 : event.changedTouches[0].clientX - touch.current;
    touch.current = null;
    if (Math.abs(moved) >= LEAST_SWIPE) go(moved < 0 ? 1 : -1);
  };
  const name = match?.name ?? `Image ${imageId}`;
  const size = fit && { width: `${fit.width}px`, height: `${fit.height}px` };

  return html`<dialog
    ref=${dialog} class="lightbox" tabindex="-1" aria-label=${name} onKeyDown=${onKeyDown}
    onCancel=${(event) => { event.preventDefault(); onClose(); }}
  >
    <div class="lightbox-head">
      <h2 class="lightbox-name">${name}</h2>
      ${index >= 0 && html`<span class="quiet numbers" role="status">${index + 1} of ${matches.length}</span>`}
      <span class="lightbox-tools">
        ${text && !isGone && html`<button type="button" class="button small" style=${hidden} aria-pressed=${wantsHeat} title=${`Show where “${text}” matches (h)`} onClick=${() => setWantsHeat(!wantsHeat)}>
          <${Icon} name="heat" size=${17} /><span class="wide">Where it matches</span></button>`}
        <button type="button" class="button small" style=${hidden} title="More like this (m)" aria-label="More like this" onClick=${() => onMore(imageId)}><${Icon} name="similar" size=${17} /><span class="wide">More like this</span></button>
        ${!match ? html`<span class="icon-button"></span>` : html`<a class="icon-button" href=${match.original} download=${match.name} aria-label="Download the original" title="Download the original" onClick=${(event) => download(event, match)}><${Icon} name="download" /></a>`}
        <${IconButton} icon="close" label="Close (Escape)" onClick=${onClose} />
      </span>
    </div>
    <div class="lightbox-stage" onTouchStart=${(event) => { touch.current = event.touches.length === 1 ? event.touches[0].clientX : null; }} onTouchEnd=${onTouchEnd}>
      <div class="lightbox-room" ref=${stage}>
        ${error && html`<p class="lightbox-error" role="alert">${isDeleted ? "That image has been deleted." : error.detail}</p>`}
        ${match && size && html`<div class="lightbox-image" style=${size} key=${imageId}>
          ${index >= 0 && html`<${Thumbnail} path=${thumbnailOf(match, 200)} class="is-preview" isOptional />`}
          <${Thumbnail} path=${`${match.thumbnail}&size=${LARGE}`} alt=${name} />
          ${map && html`<${HeatMap} map=${map} text=${text} />`}
        </div>`}
      </div>
      ${wantsHeat && !map && html`<p class="lightbox-note" role="status">${heatError ? heatError.detail : `Looking for “${text}” …`}</p>`}
      ${index > 0 && html`<${IconButton} icon="left" size=${26} class="lightbox-step is-left" label="Image before (arrow left)" onClick=${() => go(-1)} />`}
      ${index >= 0 && index < matches.length - 1 && html`<${IconButton} icon="right" size=${26} class="lightbox-step is-right" label="Next image (arrow right)" onClick=${() => go(1)} />`}
    </div>
    ${match ? html`<${Facts} key=${imageId} match=${match} onFilter=${onFilter} />` : html`<div class="facts"></div>`}
  </dialog>`;
}
