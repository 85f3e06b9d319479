// Small parts that every view uses.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/htm-preact.js";

const PATHS = {
  search: "M10.5 17a6.5 6.5 0 1 1 0-13 6.5 6.5 0 0 1 0 13Zm5-1.5L20.5 20.5",
  image: "M4 6.5A1.5 1.5 0 0 1 5.5 5h13A1.5 1.5 0 0 1 20 6.5v11a1.5 1.5 0 0 1-1.5 1.5h-13A1.5 1.5 0 0 1 4 17.5ZM4 16l4.5-4.5 4 4 2.5-2.5 5 5M15.5 9h.01",
  similar: "M4 7h9v9H4zM8 16v4h12V10h-7",
  close: "M6 6l12 12M18 6 6 18",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  check: "M5 12.5 10 17.5 19.5 7",
  left: "M15 5 8 12l7 7",
  right: "M9 5l7 7-7 7",
  filter: "M4 7h16M7 12h10M10 17h4",
  sun: "M12 7.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9ZM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
  moon: "M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10Z",
  system: "M4 5.5h16v10.5H4zM9 20h6M12 16v4",
  help: "M9 9.2a3 3 0 1 1 4.4 2.6c-.9.5-1.4 1.1-1.4 2.2M12 17.5h.01M12 21a9 9 0 1 1 0-18 9 9 0 0 1 0 18Z",
  download: "M12 4v11M7 10.5l5 5 5-5M5 20h14",
  tag: "M4 4h7.5l8.5 8.5-7.5 7.5L4 11.5ZM8 8h.01",
  trash: "M5 7h14M10 7V4.5h4V7M7 7l1 13h8l1-13M10.5 10.5v6M13.5 10.5v6",
  label: "M5 4h14v16l-7-5-7 5Z",
  heat: "M12 21a6.5 6.5 0 0 0 6.5-6.5c0-4-3-5.5-3.5-9.5-3 1.5-4.5 4-4.5 6.5C9 11 8.5 10 8.5 8.5 6.5 10 5.5 12 5.5 14.5A6.5 6.5 0 0 0 12 21Z",
  stack: "M12 4 4 8l8 4 8-4-8-4ZM4 12l8 4 8-4M4 16l8 4 8-4",
  info: "M12 11v6M12 7.5h.01M12 21a9 9 0 1 1 0-18 9 9 0 0 1 0 18Z",
  warning: "M12 4 2.5 20h19ZM12 10v4.5M12 17.5h.01",
  more: "M5 12.5v-1h1v1ZM11.5 12.5v-1h1v1ZM18 12.5v-1h1v1Z",
  upload: "M12 20V8M7 12.5l5-5 5 5M5 4h14",
  folder: "M3.5 7A1.5 1.5 0 0 1 5 5.5h4.5l2 2.5H19A1.5 1.5 0 0 1 20.5 9.5v8A1.5 1.5 0 0 1 19 19H5a1.5 1.5 0 0 1-1.5-1.5Z",
  swap: "M7 4 3.5 7.5 7 11M4 7.5h12M17 13l3.5 3.5L17 20M20 16.5H8",
  refresh: "M19.5 12a7.5 7.5 0 1 1-2.2-5.3L20 9.4M20 4v5.4h-5.4",
};

/** A drawing beside a text, or in a button that has a label. */
export function Icon({ name, size = 20 }) {
  return html`<svg class="icon" width=${size} height=${size} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
    <path d=${PATHS[name]} />
  </svg>`;
}

/** A button that shows an icon only; `label` is what it is called, and what is shown on hover. */
export function IconButton({ icon, label, size, class: more = "", ...others }) {
  return html`<button type="button" class=${`icon-button ${more}`} aria-label=${label} title=${label} ...${others}>
    <${Icon} name=${icon} size=${size} />
  </button>`;
}

let dialogs = 0;

/** A modal dialog with a heading. Escape, a click beside it and its cross call `onClose`. */
export function Dialog({ title, onClose, children, class: more = "" }) {
  const dialog = useRef();
  const [id] = useState(() => `dialog-${(dialogs += 1)}`);
  useLayoutEffect(() => {
    const shown = dialog.current;
    shown.showModal();
    return () => shown.close(); // gives the focus back
  }, []);
  const isOutside = (event) => event.target === dialog.current;
  const onCancel = (event) => {
    event.preventDefault();
    onClose();
  };
  return html`<dialog
    ref=${dialog} class=${`dialog ${more}`} aria-labelledby=${id} onCancel=${onCancel}
    onMouseDown=${(event) => isOutside(event) && onClose()}
  >
    <div class="dialog-content">
      <header class="dialog-head">
        <h2 id=${id}>${title}</h2>
        <${IconButton} icon="close" label="Close" onClick=${onClose} />
      </header>
      ${children}
    </div>
  </dialog>`;
}

/** What is said where there is nothing else to show: a heading, a sentence or two, and what to do. */
export function Notice({ icon = "info", title, children, tone = "" }) {
  return html`<section class=${`notice ${tone}`} role=${tone === "danger" ? "alert" : undefined}>
    <span class="notice-icon"><${Icon} name=${icon} size=${28} /></span>
    <h2>${title}</h2>
    ${children}
  </section>`;
}

/** What went wrong, in a sentence, with a button to try again where that may help. */
export function ErrorNotice({ error, onRetry }) {
  return html`<${Notice} icon="warning" tone="danger" title="That didn't work">
    <p>${error.detail ?? String(error)}</p>
    ${onRetry && html`<button type="button" class="button" onClick=${onRetry}>Try again</button>`}
  <//>`;
}

/** A switch: on or off, at once. */
export function Switch({ label, isOn, onChange, hint, disabled = false }) {
  return html`<label class="switch" title=${hint}>
    <input type="checkbox" role="switch" checked=${isOn} disabled=${disabled} onChange=${(event) => onChange(event.currentTarget.checked)} />
    <span class="switch-track" aria-hidden="true"></span>
    <span>${label}</span>
  </label>`;
}

let showToast = () => {};

/** Say shortly what was done, or why it wasn't; `tone` may be "danger". */
export function toast(text, { tone = "" } = {}) {
  showToast({ text, tone, id: Date.now() });
}

/** Where `toast` shows what it says; once in the page. */
export function Toasts() {
  const [shown, show] = useState(null);
  useEffect(() => {
    showToast = show;
  }, []);
  useEffect(() => {
    if (!shown) return undefined;
    const timer = setTimeout(() => show(null), shown.tone === "danger" ? 8000 : 4000);
    return () => clearTimeout(timer);
  }, [shown]);
  return html`<div class="toasts" role="status" aria-live="polite">
    ${shown && html`<p key=${shown.id} class=${`toast ${shown.tone}`}>${shown.text}</p>`}
  </div>`;
}

const NUMBERS = new Intl.NumberFormat("en");

/** 1234 is "1,234". */
export function formatCount(number) {
  return NUMBERS.format(number);
}

/** "1 image", "1,234 images". */
export function countOf(number, noun) {
  return `${formatCount(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** A score in [0, 1], as many digits as it takes to tell small ones apart. */
export function formatScore(score) {
  if (score === null || score === undefined) return "–";
  if (score >= 0.995) return "1.00";
  if (score >= 0.1) return score.toFixed(2);
  if (score >= 0.01) return score.toFixed(3);
  if (score >= 0.0001) return score.toFixed(4);
  return score > 0 ? "<0.0001" : "0";
}

const DECADES = 4; // scores of SigLIP are often small: from 0.0001 each decade has the same length

/** The place of a score on a scale of [0, 1] on which small ones can be told apart. */
export function scalePlace(score) {
  return score > 0 ? Math.min(Math.max(1 + Math.log10(score) / DECADES, 0), 1) : 0;
}

/** The score at a place of that scale; 0 at its beginning. */
export function scaleScore(place) {
  return place <= 0 ? 0 : Math.min(10 ** (DECADES * (place - 1)), 1);
}
