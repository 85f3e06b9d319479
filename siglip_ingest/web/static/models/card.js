// One model: how much of all images it has, and what can be done with it.
import { formatDuration, formatRate } from "../format.js";
import { Icon, countOf, formatCount } from "../ui.js";
import { html } from "../vendor/htm-preact.js";

const STATES = {
  active: ["active", "accent", "Searches, labels and new images use it."],
  kept: ["kept", "good", "New images are embedded under it too: switching to it needs nothing more."],
  unused: ["unused", "", "It keeps its vectors, but new images aren't embedded under it."],
  dropped: ["being dropped", "", "The workers are freeing its space."],
};

/** Shares that aren't quite 1 aren't shown as such. */
export function formatShare(share) {
  if (share === null || share === undefined) return "–";
  const percent = 100 * share;
  return `${percent > 99 && percent < 100 ? Math.min(percent, 99.9).toFixed(1) : Math.round(percent)} %`;
}

/** Bars of what is embedded, failed and queued of all images. */
export function CoverageBar({ model, label }) {
  const all = Math.max(model.images, 1);
  const share = (count) => ({ width: `${(100 * count) / all}%` });
  return html`<div class="bar" role="meter" aria-label=${label} aria-valuemin="0" aria-valuemax=${all} aria-valuenow=${Math.min(model.embedded, all)} aria-valuetext=${`${formatCount(model.embedded)} of ${countOf(model.images, "image")} embedded`}>
    <span class="done" style=${share(model.embedded)}></span><span class="failed" style=${share(model.failed)}></span><span class="waiting" style=${share(model.queued)}></span>
  </div>`;
}

function Facts({ model }) {
  const facts = [[model.embedded, "embedded", "done"], [model.queued, "queued", "waiting"], [model.failed, "failed", "failed"], [model.not_queued, "not queued", ""]];
  return html`<ul class="model-facts">
    ${facts.map(([count, name, tone]) => (count || name === "embedded") && html`<li key=${name}><span class=${`fact-mark ${tone}`} aria-hidden="true"></span><strong class="numbers">${formatCount(count)}</strong> ${name}</li>`)}
  </ul>`;
}

function describeWork(model) {
  const parts = [];
  if (model.state !== "dropped") parts.push(model.workers ? countOf(model.workers, "worker") : "no worker runs");
  if (model.queued && model.per_s) parts.push(`${formatRate(model.per_s)} images/s`);
  if (model.queued && model.remaining_s) parts.push(`about ${formatDuration(model.remaining_s)} left`);
  if (model.labels_missing) parts.push(`${countOf(model.labels_missing, "label")} without a vector`);
  if (model.texts) parts.push(`${formatCount(model.texts)} queries in its cache`);
  return parts.join(" · ");
}

/** A model of `GET /v1/models`. */
export function ModelCard({ model, collections, isPaired, mayChange, onSwitch, onDrop, onQueue, onCompare }) {
  const [name, tone, meaning] = STATES[model.state] ?? [model.state, "", ""];
  const isStuck = model.queued > 0 && model.workers === 0;
  const isOther = model.state === "kept" || model.state === "unused";
  return html`<li class=${`card model ${model.state}`}>
    <header class="model-head">
      <h2>${model.model}</h2>
      <span class=${`badge ${tone}`} title=${meaning}>${name}</span>
      <span class="model-share numbers">${formatShare(model.share)}</span>
    </header>
    <${CoverageBar} model=${model} label=${`Coverage of ${model.model}`} />
    <${Facts} model=${model} />
    <p class="quiet small-text">${describeWork(model)}</p>
    ${isStuck && html`<p class="hint small-text"><${Icon} name="info" size=${16} />Nothing moves until a worker runs: <code>siglip-ingest worker</code> serves every model.</p>`}
    ${collections && html`<div class="table-frame" role="region" aria-label=${`Collections under ${model.model}`} tabindex="0"><table class="data-table">
      <thead><tr><th scope="col">Collection</th><th scope="col" class="number">Images</th><th scope="col" class="number">Embedded</th><th scope="col" class="number">Queued</th><th scope="col" class="number">Failed</th></tr></thead>
      <tbody>${collections.map((each) => html`<tr key=${each.collection}><th scope="row">${each.collection}</th><td class="number">${formatCount(each.images)}</td><td class="number">${formatShare(each.share)}</td><td class="number">${formatCount(each.queued)}</td><td class="number">${formatCount(each.failed)}</td></tr>`)}</tbody>
    </table></div>`}
    ${isOther && html`<footer class="model-actions">
      ${mayChange && html`<button type="button" class=${`button small ${model.queued || model.not_queued || model.labels_missing ? "" : "primary"}`} onClick=${() => onSwitch(model)}>Switch to it</button>`}
      <button type="button" class="button small" aria-pressed=${isPaired} onClick=${() => onCompare(model)}>Compare</button>
      ${mayChange && model.not_queued > 0 && html`<button type="button" class="button small" onClick=${() => onQueue(model)}>Queue what is missing</button>`}
      ${mayChange && html`<button type="button" class="button small plain danger-text drop-button" onClick=${() => onDrop(model)}>Drop</button>`}
    </footer>`}
  </li>`;
}
