// The dialogs that change the selected images: tag, mark, delete.
import { ask, useAnswer } from "../api.js";
import { followLink } from "../router.js";
import { Dialog, countOf, toast } from "../ui.js";
import { html, useState } from "../vendor/htm-preact.js";

/** Run what a dialog does: `{run, isBusy, error}`; it closes when that has worked. */
function useTask(work, onClose) {
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const run = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await work();
      onClose();
    } catch (failure) {
      setError(failure.detail ?? String(failure));
      setBusy(false);
    }
  };
  return { run, isBusy, error };
}

/**
 * Which images a dialog is about: the selected ones, and those that are folded below them where one asks for these.
 *
 * `{ids, offer}`: the Set of their ids, and the box that asks; nothing where none is folded.
 */
function useChoice(selected, folded) {
  const [isWhole, setWhole] = useState(false);
  const ids = isWhole ? new Set([...selected, ...folded]) : selected;
  const their = selected.size === 1 ? "its" : "their";
  const offer = folded.size > 0 && html`<label class="check">
    <input type="checkbox" checked=${isWhole} onChange=${(event) => setWhole(event.currentTarget.checked)} /> With ${their} ${countOf(folded.size, "near-duplicate")}, which ${folded.size === 1 ? "is" : "are"} folded
  </label>`;
  return { ids, offer };
}

function Trouble({ error }) {
  return error && html`<p class="trouble" role="alert">${error}</p>`;
}

/** Set a key of the images' metadata, or take it out. `seen` is what results had: a Map of keys to Maps of values. */
export function TagDialog({ selected, folded, seen, change, onClose }) {
  const { ids, offer } = useChoice(selected, folded);
  const [key, setKey] = useState("");
  const [value, setValue] = useState("");
  const [isRemoval, setRemoval] = useState(false);
  const { run, isBusy, error } = useTask(async () => {
    const name = key.trim();
    const { images } = await ask("/v1/images/tag", { json: { image_ids: [...ids], metadata: { [name]: isRemoval ? null : value.trim() } } });
    change((match) => {
      if (!ids.has(match.image_id)) return match;
      const { [name]: _, ...metadata } = match.metadata;
      return { ...match, metadata: isRemoval ? metadata : { ...metadata, [name]: value.trim() } };
    });
    toast(isRemoval ? `Took ${name} out of ${countOf(images, "image")}.` : `Tagged ${countOf(images, "image")} with ${name} = ${value.trim()}.`);
  }, onClose);
  return html`<${Dialog} title=${`Tag ${countOf(ids.size, "image")}`} onClose=${onClose}>
    <form class="form" onSubmit=${run}>
      <div class="pair">
        <label class="field"><span>Key</span>
          <input required autofocus maxlength="200" list="tag-keys" autocomplete="off" value=${key} onInput=${(event) => setKey(event.currentTarget.value)} />
        </label>
        <label class="field"><span>Value</span>
          <input required=${!isRemoval} disabled=${isRemoval} list="tag-values" autocomplete="off" value=${value} onInput=${(event) => setValue(event.currentTarget.value)} />
        </label>
      </div>
      <datalist id="tag-keys">${[...seen.keys()].map((each) => html`<option value=${each} />`)}</datalist>
      <datalist id="tag-values">${[...(seen.get(key.trim())?.keys() ?? [])].map((each) => html`<option value=${each} />`)}</datalist>
      <label class="check"><input type="checkbox" checked=${isRemoval} onChange=${(event) => setRemoval(event.currentTarget.checked)} /> Take this key out instead</label>
      ${offer}
      <${Trouble} error=${error} />
      <footer class="dialog-foot">
        <button type="button" class="button" onClick=${onClose}>Cancel</button>
        <button type="submit" class="button primary" disabled=${isBusy}>${isRemoval ? "Take out" : "Tag"}</button>
      </footer>
    </form>
  <//>`;
}

/** Say of the images that they have a label, or don't. */
export function MarkDialog({ selected, folded, onClose }) {
  const { ids, offer } = useChoice(selected, folded);
  const { data, error: unavailable, isLoading } = useAnswer("/v1/labels");
  const [chosen, setChosen] = useState("");
  const [isRight, setRight] = useState(true);
  const sets = data ?? [];
  const { run, isBusy, error } = useTask(async () => {
    const [set, label] = JSON.parse(chosen);
    const path = `/v1/labels/${encodeURIComponent(set)}/labels/${encodeURIComponent(label)}/marks`;
    await ask(path, { json: { [isRight ? "positives" : "negatives"]: [...ids] } });
    toast(`Marked ${countOf(ids.size, "image")} as ${isRight ? "" : "not "}${label}.`);
  }, onClose);
  const hasNone = !isLoading && !sets.some((set) => set.labels.length);
  return html`<${Dialog} title=${`Mark ${countOf(ids.size, "image")}`} onClose=${onClose}>
    ${hasNone
      ? html`<p>${unavailable && unavailable.status !== 404 ? unavailable.detail : html`There are no labels yet. <a href="/labels" onClick=${followLink}>Make a label set</a>, then mark what is right and wrong.`}</p>`
      : html`<form class="form" onSubmit=${run}>
        <label class="field"><span>Label</span>
          <select required value=${chosen} onChange=${(event) => setChosen(event.currentTarget.value)}>
            <option value="">Choose a label</option>
            ${sets.map((set) => html`<optgroup label=${set.name}>
              ${set.labels.map((each) => html`<option value=${JSON.stringify([set.name, each.label])}>${each.label}</option>`)}
            </optgroup>`)}
          </select>
        </label>
        <fieldset class="choices"><legend class="hidden-text">Do they have it?</legend>
          <label class="check"><input type="radio" name="right" checked=${isRight} onChange=${() => setRight(true)} /> They have it</label>
          <label class="check"><input type="radio" name="right" checked=${!isRight} onChange=${() => setRight(false)} /> They don't</label>
        </fieldset>
        ${offer}
        <${Trouble} error=${error} />
        <footer class="dialog-foot">
          <button type="button" class="button" onClick=${onClose}>Cancel</button>
          <button type="submit" class="button primary" disabled=${isBusy || !chosen}>Mark</button>
        </footer>
      </form>`}
  <//>`;
}

/** Delete the images from the index, after asking. */
export function DeleteDialog({ selected, folded, change, onClose }) {
  const { ids, offer } = useChoice(selected, folded);
  const { run, isBusy, error } = useTask(async () => {
    const { images } = await ask("/v1/images/delete", { json: { image_ids: [...ids] } });
    change((match) => (ids.has(match.image_id) ? null : match));
    const left = folded.size && ids === selected ? ` The ${countOf(folded.size, "near-duplicate")} below ${selected.size === 1 ? "it" : "them"} stayed.` : "";
    toast(`Deleted ${countOf(images, "image")}.${left} The files are where they were.`);
  }, onClose);
  return html`<${Dialog} title=${`Delete ${countOf(ids.size, "image")}?`} onClose=${onClose}>
    <form class="form" onSubmit=${run}>
      <p>Their vectors, metadata and marks are deleted, and they are no longer found. The files themselves stay where they are.</p>
      ${offer}
      <${Trouble} error=${error} />
      <footer class="dialog-foot">
        <button type="button" class="button" autofocus onClick=${onClose}>Cancel</button>
        <button type="submit" class="button danger" disabled=${isBusy}>Delete</button>
      </footer>
    </form>
  <//>`;
}
