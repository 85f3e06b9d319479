// The view /ingest.
import { html } from "./vendor/htm-preact.js";

export function IngestView() {
  return html`<main id="main" class="page"><h1>Ingest</h1></main>`;
}
