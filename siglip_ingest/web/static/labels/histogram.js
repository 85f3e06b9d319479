// How a label's scores are spread over the images, and the threshold, which is dragged along them.
import { countOf, formatCount } from "../ui.js";
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/htm-preact.js";
import { REACH, countTicks, logitOf, roundScore, scoreOf, showScore, ticksFor } from "./scale.js";

const HEIGHT = 190;
const LEFT = 38; // room for the counts
const RIGHT = 14; // and for the handle at the other end
const TOP = 26;
const STEPS = { ArrowLeft: -0.1, ArrowDown: -0.1, ArrowRight: 0.1, ArrowUp: 0.1, PageDown: -1, PageUp: 1 };

/** The width of an element, CSS pixels, kept up to date. */
function useWidth(element) {
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const measure = () => setWidth(Math.round(element.current.getBoundingClientRect().width));
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return width;
}

/** Bars of counts on a square-root scale: most images score near 0, and the few others are what matters. */
function Bars({ bars, clip, tone }) {
  return html`<g class=${`bars ${tone}`} clip-path=${clip}>
    ${bars.map((bar) => html`<rect key=${bar.x} x=${bar.x} y=${bar.y} width=${bar.width} height=${bar.height} rx="1.5" />`)}
  </g>`;
}

/** People's marks, above the axis where an image has the label and below where not. */
function MarkDots({ marks, placeOf, base }) {
  return html`<g class="mark-dots">
    ${marks.map((each) => html`<circle key=${each.image_id} class=${each.mark ? "right" : "wrong"} cx=${placeOf(each.score)} cy=${base + (each.mark ? -6 : 6)} r="3.5" />`)}
  </g>`;
}

/**
 * The histogram and its threshold.
 *
 * @param {object} props `histogram` as the API gives it, `marks` (matches that a person marked), `threshold` as it is
 *   tried and `saved` as it is, `accepted` images at `threshold`, and `onChange`, which is called with a score
 */
export function Histogram({ histogram, marks, threshold, saved, accepted, label, onChange }) {
  const frame = useRef();
  const handle = useRef();
  const isDragging = useRef(false);
  const [hovered, setHovered] = useState(null);
  const width = useWidth(frame);
  const inner = Math.max(width - LEFT - RIGHT, 1);
  const placeOf = (score) => LEFT + ((logitOf(score) + REACH) / (2 * REACH)) * inner;
  const scoreAt = (x) => roundScore(scoreOf((Math.min(Math.max((x - LEFT) / inner, 0), 1) * 2 - 1) * REACH));
  const { counts, edges } = histogram;
  const most = Math.max(...counts, 1);
  const heightOf = (count) => (count ? Math.max(Math.sqrt(count / most) * (HEIGHT - TOP), 2) : 0);
  const bars = useMemo(() => {
    const wide = inner / counts.length;
    return counts.flatMap((count, bin) => {
      const height = heightOf(count);
      return count ? [{ x: LEFT + bin * wide + 0.5, y: HEIGHT - height, width: Math.max(wide - 1, 1), height, count, bin }] : [];
    });
  }, [counts, inner]);
  const at = placeOf(threshold);
  const clip = useMemo(() => `clip-${Math.random().toString(36).slice(2, 8)}`, []);

  const drag = (event) => {
    const x = event.clientX - frame.current.getBoundingClientRect().left;
    if (isDragging.current) onChange(scoreAt(x));
    const bin = Math.floor(((x - LEFT) / inner) * counts.length);
    setHovered(counts[bin] ? bin : null);
  };
  const begin = (event) => {
    if (event.button !== 0) return;
    isDragging.current = true;
    event.currentTarget.setPointerCapture(event.pointerId);
    event.preventDefault(); // else text is selected
    handle.current.focus({ preventScroll: true });
    drag(event);
  };
  const end = () => {
    isDragging.current = false;
  };
  const onKeyDown = (event) => {
    let logit = logitOf(threshold);
    if (event.key in STEPS) logit += STEPS[event.key] * (event.shiftKey ? 5 : 1);
    else if (event.key === "Home") logit = -REACH;
    else if (event.key === "End") logit = REACH;
    else return;
    event.preventDefault();
    onChange(roundScore(scoreOf(Math.min(Math.max(logit, -REACH), REACH))));
  };
  useEffect(() => {
    const stop = () => end();
    addEventListener("pointerup", stop);
    return () => removeEventListener("pointerup", stop);
  }, []);

  return html`<div class="histogram" ref=${frame} onPointerDown=${begin} onPointerMove=${drag} onPointerUp=${end} onPointerCancel=${end} onPointerLeave=${() => setHovered(null)}>
    <svg width=${width || 1} height=${HEIGHT + 30} role="img" aria-label=${`${countOf(histogram.total, "image")} by their score for ${label}; ${formatCount(accepted)} reach ${showScore(threshold)}`}>
      <defs>
        <clipPath id=${clip}><rect x=${at} y="0" width=${Math.max(width - at, 0)} height=${HEIGHT} /></clipPath>
      </defs>
      ${countTicks(most).map((count) => html`<g key=${count} class="gridline">
        <line x1=${LEFT} x2=${width - RIGHT} y1=${HEIGHT - heightOf(count)} y2=${HEIGHT - heightOf(count)} />
        <text x=${LEFT - 6} y=${HEIGHT - heightOf(count) + 4} text-anchor="end">${formatCount(count)}</text>
      </g>`)}
      <rect class="accepted-wash" x=${at} y=${TOP - 8} width=${Math.max(width - RIGHT - at, 0)} height=${HEIGHT - TOP + 8} rx="4" />
      <${Bars} bars=${bars} tone="below" />
      <${Bars} bars=${bars} tone="above" clip=${`url(#${clip})`} />
      <line class="axis" x1=${LEFT} x2=${width - RIGHT} y1=${HEIGHT + 0.5} y2=${HEIGHT + 0.5} />
      ${ticksFor(width).map((score) => html`<g key=${score} class="tick">
        <line x1=${placeOf(score)} x2=${placeOf(score)} y1=${HEIGHT} y2=${HEIGHT + 5} />
        <text x=${placeOf(score)} y=${HEIGHT + 20} text-anchor="middle">${score}</text>
      </g>`)}
      ${saved !== threshold && html`<line class="saved-line" x1=${placeOf(saved)} x2=${placeOf(saved)} y1=${TOP - 8} y2=${HEIGHT} />`}
      <${MarkDots} marks=${marks} placeOf=${placeOf} base=${HEIGHT} />
    </svg>
    <div
      class="threshold" ref=${handle} role="slider" tabindex="0" aria-label=${`Threshold of ${label}`} aria-valuemin="0" aria-valuemax="1"
      aria-valuenow=${threshold} aria-valuetext=${`${showScore(threshold)}, ${countOf(accepted, "image")} accepted`} aria-orientation="horizontal"
      style=${{ left: `${at}px`, height: `${HEIGHT}px` }} onKeyDown=${onKeyDown}
    >
      <span class=${`threshold-value ${at > width - 60 ? "to-left" : ""} ${at < 60 ? "to-right" : ""}`}>${showScore(threshold)}</span>
    </div>
    <p class="histogram-hint" aria-hidden="true">
      ${hovered === null || isDragging.current ? "" : `${countOf(counts[hovered], "image")} from ${showScore(edges[hovered])} to ${showScore(edges[hovered + 1])}`}
    </p>
  </div>`;
}
