// One label: its histogram, the threshold while it is tried, and what stands below.
import { ask, useAnswer } from "../api.js";
import { withQuery } from "../format.js";
import { navigate } from "../router.js";
import { ErrorNotice, Icon, Notice, countOf, formatCount, toast } from "../ui.js";
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/htm-preact.js";
import { CalibrationPanel } from "./calibration.js";
import { Histogram } from "./histogram.js";
import { BorderPanel, MarkedPanel, SuggestionsPanel } from "./panels.js";
import { pathOfLabel, useBorder } from "./requests.js";
import { estimateAbove, showScore } from "./scale.js";

const PANELS = [["threshold", "At the threshold"], ["suggested", "Worth marking"], ["marked", "Marked"], ["calibration", "Calibration"]];

function PanelTabs({ shown, counts, onShow }) {
  const tabs = useRef();
  const onKeyDown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const place = PANELS.findIndex(([name]) => name === shown);
    const [next] = PANELS[(place + step + PANELS.length) % PANELS.length];
    onShow(next);
    event.currentTarget.querySelector(`[data-panel=${next}]`).focus();
  };
  useLayoutEffect(() => { // on a narrow screen it may be out of sight
    const list = tabs.current;
    const tab = list.querySelector(`[data-panel=${shown}]`);
    list.scrollLeft = tab.offsetLeft - list.offsetLeft - (list.clientWidth - tab.clientWidth) / 2;
  }, [shown]);
  return html`<div class="tabs" ref=${tabs} role="tablist" aria-label="Images of this label" onKeyDown=${onKeyDown}>
    ${PANELS.map(([name, text]) => html`<button
      key=${name} type="button" role="tab" id=${`tab-${name}`} data-panel=${name} aria-selected=${name === shown} aria-controls="label-panel"
      tabIndex=${name === shown ? 0 : -1} onClick=${() => onShow(name)}
    >${text}${counts[name] ? html` <span class="count">${formatCount(counts[name])}</span>` : ""}</button>`)}
  </div>`;
}

/** Marks as a person makes them: shown at once, sent, and taken back where the server refuses. */
function useMarks(chosen, onMarked) {
  const [given, setGiven] = useState(() => new Map());
  const markOf = (match) => (given.has(match.image_id) ? given.get(match.image_id) : (match.mark ?? null));
  const onMark = async (match, value) => {
    const before = markOf(match);
    if (before === value) return;
    setGiven((all) => new Map(all).set(match.image_id, value));
    const kind = value === null ? "unmark" : value ? "positives" : "negatives";
    try {
      await ask(pathOfLabel(chosen, "marks"), { json: { [kind]: [match.image_id] } });
      onMarked();
    } catch (error) {
      setGiven((all) => new Map(all).set(match.image_id, before));
      toast(error.detail, { tone: "danger" });
    }
  };
  return { markOf, onMark };
}

function ThresholdRow({ tried, saved, accepted, total, before, isExact, isBusy, onTry, onApply, onUndo, undo }) {
  const isChanged = tried !== saved;
  const change = accepted - before;
  return html`<div class="threshold-row">
    <p class="accepted-count" role="status"><strong class="numbers" data-exact=${isExact}>${formatCount(accepted)}</strong> of ${countOf(total, "image")} accepted
      ${isChanged && change !== 0 ? html`<span class=${`change numbers ${change > 0 ? "more" : "fewer"}`}>${change > 0 ? "+" : "−"}${formatCount(Math.abs(change))}</span>` : ""}
    </p>
    <label class="inline-field"><span>Threshold</span>
      <input class="input score-input numbers" type="number" min="0" max="1" step="any" value=${tried} onChange=${(event) => {
        const score = event.currentTarget.valueAsNumber;
        if (score >= 0 && score <= 1) onTry(score);
      }} />
    </label>
    ${isChanged
      ? html`<button type="button" class="button primary" disabled=${isBusy} onClick=${onApply}>Apply</button><button type="button" class="button" disabled=${isBusy} onClick=${() => onTry(saved)}>Undo</button>`
      : undo && html`<button type="button" class="button" disabled=${isBusy} onClick=${onUndo}>Back to ${showScore(undo.score)}</button>`}
  </div>`;
}

/** The label that the address names. `version` grows when it was changed; `onChanged` says that it was changed here. */
export function LabelPane({ chosen, status, place, collections, version, onChanged, onEdit }) {
  const collection = place.query.get("collection");
  const shown = PANELS.some(([name]) => name === place.query.get("show")) ? place.query.get("show") : "threshold";
  const [tried, setTried] = useState(null); // null is the threshold as it is
  const [undo, setUndo] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const { data: histogram, error, reload } = useAnswer(status.is_ready ? pathOfLabel(chosen, "histogram") : null, { bins: 96, collection });
  const { data: page, reload: reloadMarked } = useAnswer(status.is_ready ? pathOfLabel(chosen, "images") : null, { only_marked: true, limit: 200 });
  const saved = histogram?.threshold ?? null;
  const threshold = tried ?? saved;
  const border = useBorder(chosen, threshold, collection, version);
  const { markOf, onMark } = useMarks(chosen, reloadMarked);
  const marked = page?.matches ?? null;
  const dots = useMemo(() => (marked ?? []).filter((match) => match.mark !== null), [marked]);

  useEffect(() => {
    reload();
    reloadMarked();
  }, [version]);

  const show = (changes) => navigate(withQuery(place, changes), { replace: true });
  const change = async (score, before) => {
    setBusy(true);
    try {
      await ask(pathOfLabel(chosen), { method: "PATCH", json: { threshold: score } });
      setUndo(before);
      setTried(score ?? 0.5);
      onChanged();
      const now = await ask(pathOfLabel(chosen, "histogram"), { query: { bins: 2 } });
      setTried(now.threshold === saved ? null : now.threshold);
    } catch (problem) {
      toast(problem.detail, { tone: "danger" });
    } finally {
      setBusy(false);
    }
  };
  useEffect(() => {
    if (tried !== null && tried === saved) setTried(null); // it was applied
  }, [saved]);

  if (!status.is_ready) {
    const reasons = Object.entries(status.refusals);
    return reasons.length
      ? html`<${Notice} icon="warning" tone="danger" title="The model can't read this label">
          ${reasons.map(([model, reason]) => html`<p key=${model}>${reason}</p>`)}
          <button type="button" class="button" onClick=${onEdit}>Edit its prompts</button>
        <//>`
      : html`<${Notice} icon="refresh" title="Its vector is being made"><p>A worker embeds the label's prompts. That takes seconds once one runs; this page looks again by itself.</p><//>`;
  }
  if (error && !histogram) return html`<${ErrorNotice} error=${error} onRetry=${reload} />`;
  if (!histogram) return html`<div key="waiting" class="histogram-card waiting" aria-busy="true"></div>`;
  const isExact = border.at === threshold && border.above !== null;
  const accepted = isExact ? border.above : tried === null ? histogram.accepted : estimateAbove(histogram, threshold);
  const review = { markOf, onMark };
  return html`
    <section class="histogram-card" aria-label="Scores and threshold">
      ${histogram.total === 0
        ? html`<p class="quiet strip-empty">${collection ? `No image of ${collection} has a score yet.` : "No image has a score yet."} <a href="/ingest">Add images</a>, and they are scored as they come.</p>`
        : html`
          <${Histogram} histogram=${histogram} marks=${dots.map((match) => ({ ...match, mark: markOf(match) })).filter((match) => match.mark !== null)}
            threshold=${threshold} saved=${saved} accepted=${accepted} label=${chosen.label} onChange=${setTried} />
          <${ThresholdRow}
            tried=${threshold} saved=${saved} accepted=${accepted} total=${histogram.total} before=${histogram.accepted} isExact=${isExact} isBusy=${isBusy} onTry=${setTried}
            undo=${undo} onApply=${() => change(threshold, { value: status.threshold, score: saved })} onUndo=${() => change(undo.value, null)}
          />`}
    </section>
    <div class="panel-head">
      <${PanelTabs} shown=${shown} counts=${{ marked: dots.length }} onShow=${(name) => show({ show: name === "threshold" ? null : name })} />
      ${collections.length > 1 && html`<label class="inline-field collection-field"><span>Collection</span>
        <select class="select" value=${collection ?? ""} onChange=${(event) => show({ collection: event.currentTarget.value })}>
          <option value="">all</option>
          ${collections.map((each) => html`<option key=${each.collection} value=${each.collection}>${each.collection}</option>`)}
        </select>
      </label>`}
    </div>
    <div id="label-panel" class="label-panel" role="tabpanel" aria-labelledby=${`tab-${shown}`}>
      ${shown === "threshold" && html`<${BorderPanel} border=${border} threshold=${threshold} ...${review} />`}
      ${shown === "suggested" && html`<${SuggestionsPanel} chosen=${chosen} ...${review} />`}
      ${shown === "marked" && html`<${MarkedPanel} marked=${marked} ...${review} />`}
      ${shown === "calibration" && html`<${CalibrationPanel} chosen=${chosen} marked=${marked} onSuggest=${() => show({ show: "suggested" })} onChange=${() => {
        setUndo(null);
        setTried(null);
        onChanged();
      }} />`}
    </div>
  `;
}
