// The view /.
import { html } from "../vendor/htm-preact.js";

export function SearchView() {
  return html`<main id="main" class="page"><h1>Search</h1></main>`;
}
