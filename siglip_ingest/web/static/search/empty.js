// What is shown where there are no results, with what to do about it.
import { followLink } from "../router.js";
import { ErrorNotice, Notice, countOf, formatScore } from "../ui.js";
import { html } from "../vendor/htm-preact.js";
import { hasFilters, hasQuery, lacksWanted } from "./state.js";

const GONE = /^There is no image (\d+)\./; // as the server says it

/** Why there are no results. `failed` is how many images aren't listed since they failed. */
export function NoResults({ state, change, error, again, failed }) {
  if (lacksWanted(state)) {
    return html`<${Notice} icon="search" title="Say what you want to see, too."><p>A minus takes something away from what is searched for: add a word without one, or an image.</p><//>`;
  }
  if (error?.status === 404 && GONE.test(error.detail)) {
    const gone = Number(GONE.exec(error.detail)[1]);
    const parts = state.parts.filter((part) => part.kind !== "image" || part.value !== gone);
    return html`<${Notice} icon="image" title="That image has been deleted.">
      <p>What was like it can't be searched for any more.</p>
      <div class="actions"><button type="button" class="button primary" onClick=${() => change({ parts })}>Search without it</button></div>
    <//>`;
  }
  if (error?.code === "upload_gone") {
    return html`<${Notice} icon="image" title="Your image isn't kept any more">
      <p>Images to search by are kept for a while only. Drop or paste it again, or search without it.</p>
      <div class="actions"><button type="button" class="button primary" onClick=${() => change({ parts: state.parts.filter((part) => part.kind !== "upload") })}>Search without it</button></div>
    <//>`;
  }
  if (error?.status === 401) {
    return html`<${Notice} title="A key is needed"><p>${error.detail}</p><button type="button" class="button" onClick=${again}>Give a key<//><//>`;
  }
  if (error?.status === 0) return html`<${Notice} icon="refresh" title="The server doesn't answer"><p>Results appear as soon as it does.</p><//>`;
  if (error) return html`<${ErrorNotice} error=${error} onRetry=${again} />`;
  if (hasQuery(state) && state.minScore) {
    return html`<${Notice} icon="search" title="Nothing is that relevant">
      <p>No image has a score of ${formatScore(state.minScore)} or more. Scores of SigLIP are often small, also of images that fit.</p>
      <div class="actions">
        <button type="button" class="button primary" onClick=${() => change({ minScore: state.minScore / 10 < 0.0001 ? 0 : state.minScore / 10 })}>Loosen the cut-off</button>
        <button type="button" class="button" onClick=${() => change({ minScore: 0 })}>Show all</button>
      </div>
    <//>`;
  }
  if (failed) {
    return html`<${Notice} icon="warning" title=${`${countOf(failed, "image")} failed`}>
      <p>${failed === 1 ? "It" : "They"} couldn't be indexed, so there is nothing to find here.</p>
      <div class="actions"><a class="button primary" href="/ingest" onClick=${followLink}>See why</a></div>
    <//>`;
  }
  if (hasFilters(state)) {
    return html`<${Notice} icon="filter" title="No image passes these filters">
      <p>Take one away, or all.</p>
      <div class="actions"><button type="button" class="button primary" onClick=${() => change({ filter: {}, labels: [], collection: null })}>Remove the filters</button></div>
    <//>`;
  }
  return html`<${Notice} icon="image" title="No images are indexed yet">
    <p>Drop a folder or files on the page Ingest, or index them in a terminal:</p>
    <p><code>siglip-ingest index ~/Pictures</code></p>
    <div class="actions"><a class="button primary" href="/ingest" onClick=${followLink}>Index images</a></div>
  <//>`;
}
