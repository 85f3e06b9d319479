// The view /models.
import { html } from "./vendor/htm-preact.js";

export function ModelsView() {
  return html`<main id="main" class="page"><h1>Models</h1></main>`;
}
