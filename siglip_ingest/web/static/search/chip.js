// A term of the query: what is wanted, or isn't, and how much.
import { Thumbnail } from "../thumbnail.js";
import { Icon } from "../ui.js";
import { html, useRef } from "../vendor/htm-preact.js";
import { MAX_WEIGHT, roundWeight } from "./state.js";

const PIXELS_A_TENTH = 7; // of dragging

/** The path of the thumbnail of a term that is an image. */
function pathOf({ kind, value }) {
  return kind === "image" ? `/v1/images/${value}/thumbnail?size=160` : `/v1/uploads/${value}/thumbnail`;
}

/** What a term is called. */
export function nameOfPart({ kind, value }) {
  return { text: `“${value}”`, image: `image ${value}`, upload: "your image" }[kind];
}

/** How a weight is written: +, −, or a number where it isn't 1. */
function writeWeight(weight) {
  const sign = weight < 0 ? "−" : "+";
  return Math.abs(weight) === 1 ? sign : `${sign}${Math.abs(weight).toFixed(1)}`;
}

/** A term as a chip. Its weight is a slider: arrow keys, or dragging it to the side; a click turns it around. */
export function Chip({ part, onWeigh, onRemove }) {
  const drag = useRef(null);
  const name = nameOfPart(part);
  const { weight } = part;

  const onKeyDown = (event) => {
    const steps = { ArrowUp: 0.1, ArrowRight: 0.1, ArrowDown: -0.1, ArrowLeft: -0.1, PageUp: 0.5, PageDown: -0.5 };
    if (event.key in steps) onWeigh(roundWeight(weight + steps[event.key], weight));
    else if (event.key === "Home") onWeigh(-MAX_WEIGHT);
    else if (event.key === "End") onWeigh(MAX_WEIGHT);
    else if (event.key === "-" || event.key === "Enter" || event.key === " ") onWeigh(-weight);
    else if (event.key === "Delete" || event.key === "Backspace") onRemove();
    else return;
    event.preventDefault();
  };
  const onPointerDown = (event) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    drag.current = { x: event.clientX, weight, last: weight };
  };
  const onPointerMove = (event) => {
    if (!drag.current) return;
    const moved = Math.round((event.clientX - drag.current.x) / PIXELS_A_TENTH) / 10;
    const next = roundWeight(drag.current.weight + moved, drag.current.last);
    if (moved) drag.current.isDragged = true;
    if (drag.current.isDragged && next !== drag.current.last) onWeigh(next);
    drag.current.last = next;
  };
  const onPointerUp = () => {
    if (drag.current && !drag.current.isDragged) onWeigh(-weight);
    drag.current = null;
  };

  return html`<span class=${`chip ${weight < 0 ? "is-unwanted" : ""}`} role="group" aria-label=${name}>
    <span
      class="chip-weight numbers" role="slider" tabindex="0" aria-label=${`Weight of ${name}`} aria-valuemin=${-MAX_WEIGHT} aria-valuemax=${MAX_WEIGHT}
      aria-valuenow=${weight} aria-valuetext=${`${Math.abs(weight)}, ${weight < 0 ? "not wanted" : "wanted"}`}
      title="Drag, or use the arrow keys, to weigh it; click to turn it around" onKeyDown=${onKeyDown}
      onPointerDown=${onPointerDown} onPointerMove=${onPointerMove} onPointerUp=${onPointerUp} onPointerCancel=${() => { drag.current = null; }}
    >${writeWeight(weight)}</span>
    ${part.kind === "text"
      ? html`<span class="chip-text">${part.value}</span>`
      : html`<${Thumbnail} key=${part.value} path=${pathOf(part)} alt=${name} class="chip-image" />`}
    <button type="button" class="chip-remove" aria-label=${`Remove ${name}`} onClick=${onRemove}><${Icon} name="close" size=${14} /></button>
  </span>`;
}
