// What failed in an ingestion, by the kind of reason, and trying again.
import { ask, useAnswer } from "../api.js";
import { ErrorNotice, Icon, countOf, toast } from "../ui.js";
import { html, useState } from "../vendor/htm-preact.js";

const SHOWN = 8;
const KINDS = {
  not_an_image: "Not images",
  truncated: "Cut short",
  unreadable: "Broken files",
  too_large: "Too large",
  not_found: "Not found",
  fetch_failed: "Couldn't be fetched",
  permission_denied: "May not be read",
  not_allowed: "Not allowed here",
  not_a_file: "Not files",
  not_supported: "Of a kind that isn't supported",
  unsupported_source: "From where nothing can be read",
  embedding_failed: "Couldn't be embedded",
  unexpected_error: "Unexpected errors",
};

/** Failures by their codes, the most frequent first: [[code, failures], ...]. */
export function groupByCode(failures) {
  const groups = new Map();
  for (const failure of failures) groups.set(failure.error_code, [...(groups.get(failure.error_code) ?? []), failure]);
  return [...groups].sort((a, b) => b[1].length - a[1].length);
}

function nameOfCode(code) {
  const words = code.replaceAll("_", " ");
  return KINDS[code] ?? words.charAt(0).toUpperCase() + words.slice(1);
}

function Group({ code, failures }) {
  const [isOpen, setOpen] = useState(false);
  const shown = isOpen ? failures : failures.slice(0, SHOWN);
  return html`<section class="failure-group">
    <h3>${nameOfCode(code)} <span class="count">${failures.length}</span> <code class="quiet">${code}</code></h3>
    <ul>
      ${shown.map(({ image, error_message: message }) => html`<li key=${image.image_id}>
        <span class="failure-name" title=${image.uri}>${image.name}</span><span class="failure-reason">${message}</span>
      </li>`)}
    </ul>
    ${failures.length > shown.length && html`<button type="button" class="button small" onClick=${() => setOpen(true)}>Show ${failures.length - shown.length} more</button>`}
  </section>`;
}

/** The failures of an ingestion. `failed` is how many there are; `onRetry` is called once they are queued again. */
export function Failures({ id, failed, onRetry }) {
  const { data, error, reload } = useAnswer(failed ? `/v1/ingestions/${id}/failures` : null);
  const [isBusy, setBusy] = useState(false);
  if (!failed) return null;
  const retry = async () => {
    setBusy(true);
    try {
      const now = await ask(`/v1/ingestions/${id}/retry`, { method: "POST" });
      toast(`${countOf(now.counts.queued + now.counts.claimed, "image")} queued again.`);
      onRetry(now);
    } catch (problem) {
      toast(problem.detail, { tone: "danger" });
    } finally {
      setBusy(false);
    }
  };
  return html`<div class="failures">
    <header class="failures-head">
      <p><${Icon} name="warning" size=${18} /><strong>${countOf(failed, "image")} failed.</strong></p>
      <button type="button" class="button small" disabled=${isBusy} onClick=${retry}><${Icon} name="refresh" size=${16} />${isBusy ? "Queueing ..." : "Try again"}</button>
    </header>
    ${error && !data && html`<${ErrorNotice} error=${error} onRetry=${reload} />`}
    ${data && groupByCode(data).map(([code, failures]) => html`<${Group} key=${code} code=${code} failures=${failures} />`)}
    ${data && data.length < failed && html`<p class="quiet small-text">The first ${data.length} are shown.</p>`}
  </div>`;
}
