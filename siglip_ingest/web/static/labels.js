// The view /labels.
import { html } from "./vendor/htm-preact.js";

export function LabelsView() {
  return html`<main id="main" class="page"><h1>Labels</h1></main>`;
}
