// Dialogs that add, switch and drop models: each says first what will happen.
import { ask } from "../api.js";
import { Dialog, Switch, countOf, formatCount } from "../ui.js";
import { html, useState } from "../vendor/htm-preact.js";
import { CoverageBar, formatShare } from "./card.js";

function useRequest(onDone) {
  const [error, setError] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const send = async (path, options) => {
    setBusy(true);
    setError(null);
    try {
      await ask(path, options);
      onDone();
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  return { error, isBusy, send };
}

function submitting(work) {
  return (event) => {
    event.preventDefault();
    work();
  };
}

/** Another model. */
export function AddDialog({ images, onClose, onDone }) {
  const [name, setName] = useState("");
  const { error, isBusy, send } = useRequest(() => onDone(name.trim()));
  return html`<${Dialog} title="Add a model" onClose=${onClose}>
    <form class="form" onSubmit=${submitting(() => send("/v1/models", { json: { name: name.trim() } }))}>
      <p>${images ? `All ${countOf(images, "image")} are` : "Every image is"} embedded under it too, beside the active model. Searches go on as they are until you switch.</p>
      <label class="field"><span>Checkpoint</span>
        <input type="text" required autocomplete="off" autofocus spellcheck="false" list="checkpoints" placeholder="google/siglip2-base-patch16-224" value=${name} onInput=${(event) => setName(event.currentTarget.value)} />
        <datalist id="checkpoints">
          ${["base-patch16-224", "base-patch16-384", "large-patch16-256", "so400m-patch14-384", "so400m-patch16-naflex"].map((each) => html`<option key=${each} value=${`google/siglip2-${each}`}></option>`)}
        </datalist>
        <small class="quiet">A name on the Hugging Face hub, a folder on the workers' machine, or demo.</small>
      </label>
      ${error && html`<p class="form-error" role="alert">${error.detail}</p>`}
      <footer class="dialog-foot">
        <button type="button" class="button" onClick=${onClose}>Cancel</button>
        <button type="submit" class="button primary" disabled=${isBusy || !name.trim()}>${isBusy ? "Queueing ..." : "Add it"}</button>
      </footer>
    </form>
  <//>`;
}

function missingOf(model) {
  const missing = [];
  const images = model.images - model.embedded - model.failed;
  if (images > 0) missing.push(`${countOf(images, "image")} ${images === 1 ? "has" : "have"} no vector under it yet`);
  if (model.labels_missing) missing.push(`${countOf(model.labels_missing, "label")} ${model.labels_missing === 1 ? "has" : "have"} none`);
  return missing;
}

/** Making a model the active one. */
export function SwitchDialog({ model, active, onClose, onDone }) {
  const [isKept, setKept] = useState(true);
  const [isForced, setForced] = useState(false);
  const { error, isBusy, send } = useRequest(() => onDone(model));
  const missing = missingOf(model);
  const isRefused = missing.length > 0 || error?.status === 409;
  return html`<${Dialog} title=${`Switch to ${model.model}?`} onClose=${onClose}>
    <form class="form" onSubmit=${submitting(() => send(`/v1/models/${model.model_id}/switch`, { json: { force: isForced, keep_old: isKept } }))}>
      <p>From the next request on, searches, labels and new images use it instead of ${active?.model ?? "the active model"}. Scores of two models differ: thresholds were chosen for one of them, and calibrations are each model's own.</p>
      <div class="switch-coverage"><${CoverageBar} model=${model} label=${`Coverage of ${model.model}`} /><span class="numbers">${formatShare(model.share)}</span></div>
      ${missing.length
        ? html`<p class="hint-box">${missing.join(", and ")}. Until workers have made them, searches don't find what lacks one.</p>`
        : html`<p class="good-box">It has everything: ${formatCount(model.embedded)} images and all labels.</p>`}
      <div>
        <${Switch} label=${`Keep ${active?.model ?? "the old one"} up to date`} isOn=${isKept} onChange=${setKept} />
        <p class="quiet small-text">${isKept ? "New images are embedded under both, so going back is instant." : "Going back then takes the time to embed what comes meanwhile."}</p>
      </div>
      ${isRefused && html`<label class="force-check"><input type="checkbox" checked=${isForced} onChange=${(event) => setForced(event.currentTarget.checked)} /> <span>Switch though something is missing</span></label>`}
      ${error && html`<p class="form-error" role="alert">${error.detail}</p>`}
      <footer class="dialog-foot">
        <button type="button" class="button" onClick=${onClose}>Cancel</button>
        <button type="submit" class=${`button ${isForced ? "danger" : "primary"}`} disabled=${isBusy || (missing.length > 0 && !isForced)}>${isBusy ? "Switching ..." : "Switch"}</button>
      </footer>
    </form>
  <//>`;
}

/** Taking a model away, with its vectors. */
export function DropDialog({ model, onClose, onDone }) {
  const [typed, setTyped] = useState("");
  const { error, isBusy, send } = useRequest(() => onDone(model));
  return html`<${Dialog} title="Drop this model?" onClose=${onClose}>
    <form class="form" onSubmit=${submitting(() => send(`/v1/models/${model.model_id}`, { method: "DELETE" }))}>
      <p>${countOf(model.embedded, "vector")} of ${model.model} and its calibrations are deleted. To have it again, all images are embedded again. The images stay.</p>
      <label class="field"><span>Type ${model.model} to confirm</span>
        <input type="text" autocomplete="off" autofocus spellcheck="false" value=${typed} onInput=${(event) => setTyped(event.currentTarget.value)} />
      </label>
      ${error && html`<p class="form-error" role="alert">${error.detail}</p>`}
      <footer class="dialog-foot">
        <button type="button" class="button" onClick=${onClose}>Keep it</button>
        <button type="submit" class="button danger" disabled=${isBusy || typed.trim() !== model.model}>${isBusy ? "Dropping ..." : "Drop it"}</button>
      </footer>
    </form>
  <//>`;
}
