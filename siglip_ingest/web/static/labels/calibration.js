// Fitting a label to its marks, what the fit is worth, and going back to an earlier one.
import { ask, useAnswer } from "../api.js";
import { formatAgo, formatMoment } from "../format.js";
import { ErrorNotice, countOf, toast } from "../ui.js";
import { html, useState } from "../vendor/htm-preact.js";
import { pathOfLabel } from "./requests.js";
import { showScore } from "./scale.js";

const WISHES = [["", "as good as it gets"], ["0.8", "at least 80 % right"], ["0.9", "at least 90 % right"], ["0.95", "at least 95 % right"], ["0.99", "at least 99 % right"]];

function percent(share) {
  return share === null || share === undefined ? null : `${(100 * share).toFixed(share > 0.995 && share < 1 ? 1 : 0)} %`;
}

/** What a fit means, in sentences. */
function Fit({ fit }) {
  const sentences = [];
  if (fit.precision !== null) sentences.push(html`Of the marked images that it accepts, <strong>${percent(fit.precision)}</strong> are right.`);
  if (fit.recall !== null) sentences.push(html`It accepts <strong>${percent(fit.recall)}</strong> of those marked right.`);
  if (fit.guaranteed_precision) sentences.push(html`The marks show that at least <strong>${percent(fit.guaranteed_precision)}</strong> of all that it accepts are right.`);
  return html`<div class="fit" role="status">
    <p>The threshold is now <strong>${showScore(fit.threshold)}</strong>, from ${countOf(fit.positives, "image")} marked right and ${fit.negatives} marked wrong.</p>
    ${sentences.map((sentence, place) => html`<p key=${place}>${sentence}</p>`)}
    ${fit.note && html`<p class="fit-note">${fit.note}</p>`}
  </div>`;
}

function Versions({ versions, onUse, isBusy }) {
  const hasCurrent = versions.some((version) => version.is_current);
  const rows = [...versions, { version: 0, is_current: !hasCurrent }];
  return html`<div class="table-frame" role="region" aria-label="Calibrations" tabindex="0"><table class="data-table">
    <caption class="hidden-text">Calibrations, the newest first</caption>
    <thead><tr><th scope="col">Fit</th><th scope="col" class="number">Marks</th><th scope="col" class="number">Threshold</th><th scope="col" class="number">Precision</th><th scope="col" class="number">Recall</th><th scope="col"><span class="hidden-text">Use</span></th></tr></thead>
    <tbody>
      ${rows.map((each) => html`<tr key=${each.version} class=${each.is_current ? "in-use" : ""}>
        <th scope="row">${each.version ? html`<span title=${formatMoment(each.created_at)}>${each.version}, ${formatAgo(each.created_at)}</span>` : "The model's own scores"}</th>
        <td class="number">${each.positives === undefined || each.positives === null ? "–" : `${each.positives} + ${each.negatives}`}</td>
        <td class="number">${each.threshold === undefined ? "–" : showScore(each.threshold)}</td>
        <td class="number">${percent(each.precision) ?? "–"}</td>
        <td class="number">${percent(each.recall) ?? "–"}</td>
        <td class="number">${each.is_current ? html`<span class="badge">in use</span>` : html`<button type="button" class="button small" disabled=${isBusy} aria-label=${each.version ? `Use fit ${each.version}` : "Use the model's own scores"} onClick=${() => onUse(each.version)}>Use</button>`}</td>
      </tr>`)}
    </tbody>
  </table></div>`;
}

/** The panel: what the marks are, the wish, the fit and the earlier ones. `onChange` is called when the label changed. */
export function CalibrationPanel({ chosen, marked, onChange, onSuggest }) {
  const { data: versions, error, reload } = useAnswer(pathOfLabel(chosen, "calibrations"));
  const [wish, setWish] = useState("");
  const [fit, setFit] = useState(null);
  const [failure, setFailure] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const isKnown = marked !== null && (versions !== null || error !== null); // else what comes later moves the rest
  const rights = (marked ?? []).filter((match) => match.mark === true).length;
  const wrongs = (marked ?? []).filter((match) => match.mark === false).length;

  const attempt = async (work) => {
    setBusy(true);
    setFailure(null);
    try {
      await work();
      reload();
      onChange();
    } catch (problem) {
      setFailure(problem);
    } finally {
      setBusy(false);
    }
  };
  const calibrate = (event) => {
    event.preventDefault();
    attempt(async () => {
      const json = wish ? { min_precision: Number(wish) } : {};
      setFit(await ask(pathOfLabel(chosen, "calibrations"), { json }));
    });
  };
  const use = (version) => attempt(async () => {
    await ask(pathOfLabel(chosen, "calibrations", version), { method: "PUT" });
    setFit(null);
    toast(version ? `Fit ${version} is in use again.` : "The model's own scores are in use again.");
  });

  if (!isKnown) return html`<div key="waiting" aria-busy="true"></div>`;
  return html`<div class="calibration">
    <form class="calibrate" onSubmit=${calibrate}>
      <p><strong>${countOf(rights, "image")}</strong> marked right, <strong>${wrongs}</strong> marked wrong. Calibrating turns the label's scores into what the marks say they mean, and chooses the threshold.</p>
      <div class="calibrate-row">
        <label class="inline-field"><span>Accepted images are</span>
          <select class="select" value=${wish} onChange=${(event) => setWish(event.currentTarget.value)}>
            ${WISHES.map(([value, text]) => html`<option key=${value} value=${value}>${text}</option>`)}
          </select>
        </label>
        <button type="submit" class="button primary" disabled=${isBusy || !(rights + wrongs)}>${isBusy ? "Fitting ..." : "Calibrate"}</button>
        ${!(rights && wrongs) && html`<button type="button" class="button" onClick=${onSuggest}>Mark some images first</button>`}
      </div>
    </form>
    ${failure && html`<p class="form-error" role="alert">${failure.detail}</p>`}
    ${fit && html`<${Fit} fit=${fit} />`}
    ${error && !versions && html`<${ErrorNotice} error=${error} onRetry=${reload} />`}
    ${versions?.length > 0 && html`<section><h2 class="small-title">Fits so far</h2><${Versions} versions=${versions} onUse=${use} isBusy=${isBusy} /></section>`}
  </div>`;
}
