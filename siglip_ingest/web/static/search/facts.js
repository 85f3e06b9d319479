// What is known of an image: the column beside it in the lightbox.
import { useAnswer } from "../api.js";
import { formatScore } from "../ui.js";
import { html, useState } from "../vendor/htm-preact.js";

const FEW = 5; // labels of a set that are shown at first
const DATES = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** What decides about a label: the calibrated score, once its prompts are embedded. */
function scoreOf(label) {
  return label.calibrated_score ?? label.score ?? 0;
}

function Labels({ data }) {
  const [isWhole, setWhole] = useState(false);
  if (!data?.length) return null;
  const sets = new Map();
  for (const each of data) sets.set(each.label_set, [...(sets.get(each.label_set) ?? []), each]);
  const hasMore = [...sets.values()].some((labels) => labels.length > FEW);
  return html`<section class="facts-section" aria-label="Labels">
    ${[...sets].map(([name, labels]) => html`<h3 key=${name}>${name}</h3>
      <ul class="scores">
        ${[...labels].sort((a, b) => scoreOf(b) - scoreOf(a)).slice(0, isWhole ? undefined : FEW).map((each) => html`<li key=${each.label} class=${each.is_accepted ? "is-accepted" : ""}>
          <span class="scores-name">${each.label}${each.mark === true ? " ✓" : each.mark === false ? " ✗" : ""}${each.is_accepted ? html`<span class="hidden-text"> (accepted)</span>` : ""}</span>
          <span class="scores-bar" aria-hidden="true"><span style=${{ transform: `scaleX(${scoreOf(each)})` }}></span></span>
          <span class="numbers">${formatScore(scoreOf(each))}</span>
        </li>`)}
      </ul>`)}
    ${hasMore && html`<button type="button" class="button small plain" onClick=${() => setWhole(!isWhole)}>${isWhole ? "Fewer" : "All labels"}</button>`}
  </section>`;
}

/** Facts of an image; a value of its metadata becomes a filter by `onFilter(key, value)`. */
export function Facts({ match, onFilter }) {
  const { data: labels, isLoading } = useAnswer(`/v1/images/${match.image_id}/labels`);
  if (isLoading && labels === null) return html`<div class="facts"></div>`; // what is below the labels would move
  const metadata = Object.entries(match.metadata ?? {});
  const facts = [
    ["Size", match.width && `${match.width} × ${match.height}`],
    ["Format", match.format],
    ["Collection", match.collection],
    ["Key", match.key],
    ["Taken", match.taken_at && DATES.format(new Date(match.taken_at))],
    ["Added", DATES.format(new Date(match.created_at))],
    ["Number", match.image_id],
    ["Not indexed", match.error_message],
  ].filter(([, value]) => value !== null && value !== undefined);
  return html`<div class="facts" tabindex="0" role="region" aria-label="About this image">
    ${match.score !== null && match.score !== undefined && html`<section class="facts-section">
      <h3>Match</h3>
      <dl class="table"><dt>Score</dt><dd class="numbers">${formatScore(match.score)}</dd><dt>Similarity</dt><dd class="numbers">${match.similarity.toFixed(3)}</dd></dl>
    </section>`}
    <${Labels} key=${match.image_id} data=${labels} />
    ${metadata.length > 0 && html`<section class="facts-section">
      <h3>Metadata</h3>
      <dl class="table">
        ${metadata.map(([key, value]) => html`<dt>${key}</dt><dd>${value !== null && typeof value === "object"
          ? html`<code>${JSON.stringify(value)}</code>`
          : html`<button type="button" class="value" title="Show images that have this" onClick=${() => onFilter(key, value)}>${String(value)}</button>`}</dd>`)}
      </dl>
    </section>`}
    <section class="facts-section">
      <h3>File</h3>
      <dl class="table">${facts.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>
      <p class="uri">${match.uri}</p>
    </section>
  </div>`;
}
