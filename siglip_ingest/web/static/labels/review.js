// Images of a label, to be marked right or wrong by a click or by a key.
import { Thumbnail, thumbnailOf } from "../thumbnail.js";
import { Dialog, Icon } from "../ui.js";
import { html, useEffect, useRef, useState } from "../vendor/htm-preact.js";
import { showScore } from "./scale.js";

const KEYS = { y: true, n: false, u: null };
const STATES = new Map([[true, "marked right"], [false, "marked wrong"], [null, "not marked"]]);

/** The image as large as the window allows; the keys mark it too. */
export function Preview({ match, mark, onMark, onClose }) {
  const onKeyDown = (event) => {
    if (event.key in KEYS && !event.ctrlKey && !event.metaKey) onMark(match, KEYS[event.key]);
  };
  return html`<${Dialog} title=${match.name} onClose=${onClose} class="preview">
    <div class="preview-content" onKeyDown=${onKeyDown}>
      <${Thumbnail} path=${thumbnailOf(match, 900)} alt=${match.name} width=${match.width} height=${match.height} />
      <footer class="preview-foot">
        <span class="quiet">Score ${showScore(match.score)}, ${STATES.get(mark)}</span>
        <${MarkButtons} mark=${mark} onMark=${(value) => onMark(match, value)} />
      </footer>
    </div>
  <//>`;
}

function MarkButtons({ mark, onMark, tabIndex }) {
  return html`<span class="mark-buttons">
    <button type="button" class="mark-button right" tabIndex=${tabIndex} aria-pressed=${mark === true} aria-label="Right: it has the label" title="Right (y)" onClick=${() => onMark(mark === true ? null : true)}>
      <${Icon} name="check" size=${16} />
    </button>
    <button type="button" class="mark-button wrong" tabIndex=${tabIndex} aria-pressed=${mark === false} aria-label="Wrong: it doesn't have the label" title="Wrong (n)" onClick=${() => onMark(mark === false ? null : false)}>
      <${Icon} name="close" size=${16} />
    </button>
  </span>`;
}

function Tile({ match, mark, isStop, onMark, onStep, onFocus, onOpen }) {
  const onKeyDown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key in KEYS) {
      onMark(match, KEYS[key]);
      onStep(event, 1);
    } else if (key === "ArrowRight" || key === "ArrowLeft") onStep(event, key === "ArrowRight" ? 1 : -1);
    else if (key === "ArrowDown" || key === "ArrowUp") onStep(event, key === "ArrowDown" ? "row" : "-row");
    else return;
    event.preventDefault();
  };
  const tone = mark === true ? "right" : mark === false ? "wrong" : "";
  return html`<li class=${`review-tile ${tone}`}>
    <button
      type="button" class="review-image" tabIndex=${isStop ? 0 : -1} aria-keyshortcuts="y n u" onKeyDown=${onKeyDown} onFocus=${onFocus} onClick=${() => onOpen(match)}
      aria-label=${`${match.name}, score ${showScore(match.score)}, ${STATES.get(mark)}`} title=${match.name}
    >
      <${Thumbnail} path=${thumbnailOf(match, 180)} />
    </button>
    <span class="review-score numbers" aria-hidden="true">${showScore(match.score)}</span>
    <${MarkButtons} mark=${mark} tabIndex=${-1} onMark=${(value) => onMark(match, value)} />
  </li>`;
}

/**
 * Images in rows. One of them is reached by Tab, the others from there by the arrow keys; y, n and u mark the one that
 * has the focus, and the next one gets it.
 *
 * @param {object} props `matches`, `markOf` (what a person said of one), `onMark` (match, true, false or null)
 */
export function ReviewGrid({ matches, markOf, onMark, label }) {
  const list = useRef();
  const [stop, setStop] = useState(null);
  const [opened, setOpened] = useState(null);
  const stopId = matches.some((match) => match.image_id === stop) ? stop : matches[0]?.image_id;
  const step = (event, by) => {
    const buttons = [...list.current.querySelectorAll(".review-image")];
    const from = buttons.indexOf(event.currentTarget);
    const columns = getComputedStyle(list.current).gridTemplateColumns.split(" ").length;
    const distance = by === "row" ? columns : by === "-row" ? -columns : by;
    buttons[from + distance]?.focus();
  };
  useEffect(() => {
    if (opened && !matches.some((match) => match.image_id === opened.image_id)) setOpened(null);
  }, [matches]);
  return html`
    <ul class="review-grid" ref=${list} aria-label=${label}>
      ${matches.map((match) => html`<${Tile}
        key=${match.image_id} match=${match} mark=${markOf(match)} isStop=${match.image_id === stopId}
        onMark=${onMark} onStep=${step} onFocus=${() => setStop(match.image_id)} onOpen=${setOpened}
      />`)}
    </ul>
    ${opened && html`<${Preview} match=${opened} mark=${markOf(opened)} onMark=${onMark} onClose=${() => setOpened(null)} />`}
  `;
}
