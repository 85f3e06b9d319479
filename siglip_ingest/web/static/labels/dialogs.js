// Dialogs that make and change label sets and labels.
import { ask } from "../api.js";
import { Dialog, Icon, Switch, countOf } from "../ui.js";
import { html, useState } from "../vendor/htm-preact.js";
import { pathOfLabel, pathOfSet } from "./requests.js";

const TEMPLATE = "This is a photo of {label}.";

/** Labels as they are typed: one a line, "label" or "label: prompt | another prompt". */
export function readLabels(text) {
  return text.split("\n").map((line) => line.trim()).filter(Boolean).map((line) => {
    const at = line.indexOf(": ");
    if (at < 0) return { label: line, prompts: [] };
    const prompts = line.slice(at + 2).split("|").map((prompt) => prompt.trim()).filter(Boolean);
    return { label: line.slice(0, at).trim(), prompts };
  });
}

/** A form whose work may fail: it says why, and stays open. */
function useWork(work) {
  const [error, setError] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const run = async (...given) => {
    setBusy(true);
    setError(null);
    try {
      await work(...given);
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  return { error, isBusy, run };
}

function FormError({ error }) {
  return error && html`<p class="form-error" role="alert">${error.detail}</p>`;
}

function TextField({ label, hint, value, onInput, rows, ...others }) {
  const given = { value, onInput: (event) => onInput(event.currentTarget.value), ...others };
  return html`<label class="field"><span>${label}</span>
    ${rows ? html`<textarea rows=${rows} spellcheck="false" ...${given}></textarea>` : html`<input type="text" autocomplete="off" ...${given} />`}
    ${hint && html`<small class="quiet">${hint}</small>`}
  </label>`;
}

/** Something that can't be taken back: a button, and behind it the question with what will be gone. */
function Danger({ text, question, confirm, isBusy, onConfirm }) {
  const [isAsked, setAsked] = useState(false);
  if (!isAsked) return html`<button type="button" class="button plain danger-text" onClick=${() => setAsked(true)}><${Icon} name="trash" size=${16} />${text}</button>`;
  return html`<div class="danger-box" role="alert">
    <p>${question}</p>
    <div class="danger-actions">
      <button type="button" class="button small" onClick=${() => setAsked(false)}>Keep it</button>
      <button type="button" class="button small danger" disabled=${isBusy} onClick=${onConfirm}>${confirm}</button>
    </div>
  </div>`;
}

/** A new set: a name and its labels, one a line. */
export function NewSetDialog({ onClose, onMade }) {
  const [name, setName] = useState("");
  const [text, setText] = useState("");
  const [template, setTemplate] = useState(TEMPLATE);
  const labels = readLabels(text);
  const { error, isBusy, run } = useWork(async () => {
    await ask("/v1/labels", { json: { name: name.trim(), labels: labels.map((each) => each.label), template } });
    for (const each of labels.filter((one) => one.prompts.length)) {
      await ask(pathOfLabel({ set: name.trim(), label: each.label }), { method: "PATCH", json: { prompts: each.prompts } });
    }
    onMade(name.trim(), labels[0].label);
  });
  const submit = (event) => {
    event.preventDefault();
    run();
  };
  const example = labels.find((each) => !each.prompts.length)?.label ?? "sunset";
  return html`<${Dialog} title="New label set" onClose=${onClose}>
    <form class="form" onSubmit=${submit}>
      <${TextField} label="Name" value=${name} onInput=${setName} required maxlength="1000" placeholder="skies" autofocus />
      <${TextField} label="Labels, one a line" rows="6" value=${text} onInput=${setText} required placeholder=${"sunset\nnight sky: a photo of the night sky | stars at night\nstorm"} hint="After a colon a label may have prompts of its own, with | between them." />
      <details class="more">
        <summary>Prompt of the labels without their own</summary>
        <${TextField} label="Template" value=${template} onInput=${setTemplate} required hint=${template.includes("{label}") ? html`“${template.replaceAll("{label}", example)}”` : "It contains {label}, in whose place the label's name is put."} />
      </details>
      <${FormError} error=${error} />
      <footer class="dialog-foot">
        <button type="button" class="button" onClick=${onClose}>Cancel</button>
        <button type="submit" class="button primary" disabled=${isBusy || !labels.length || !name.trim()}>${isBusy ? "Making it ..." : labels.length ? `Make it with ${countOf(labels.length, "label")}` : "Make it"}</button>
      </footer>
    </form>
  <//>`;
}

/** A set's name, template, and whether its labels are kept as rows; and deleting it. `onDone` gets the new name, or null. */
export function SetDialog({ set, onClose, onDone }) {
  const [name, setName] = useState(set.name);
  const [template, setTemplate] = useState(set.template);
  const [isKept, setKept] = useState(set.is_kept);
  const save = useWork(async () => {
    const json = { name: name.trim() };
    if (template !== set.template) json.template = template;
    if (isKept !== set.is_kept) json.keep = isKept;
    await ask(pathOfSet(set.name), { method: "PATCH", json });
    onDone(name.trim());
  });
  const remove = useWork(async () => {
    await ask(pathOfSet(set.name), { method: "DELETE" });
    onDone(null);
  });
  const submit = (event) => {
    event.preventDefault();
    save.run();
  };
  return html`<${Dialog} title="Label set" onClose=${onClose}>
    <form class="form" onSubmit=${submit}>
      <${TextField} label="Name" value=${name} onInput=${setName} required maxlength="1000" />
      <${TextField} label="Template of prompts" value=${template} onInput=${setTemplate} required hint="Labels with prompts of their own keep them." />
      <div>
        <${Switch} label="Keep its labels as rows" isOn=${isKept} onChange=${setKept} />
        <p class="quiet small-text">Workers then write a row of <code>siglip.image_labels</code> for each image that has one of them, for joins in SQL.</p>
      </div>
      <${FormError} error=${save.error ?? remove.error} />
      <footer class="dialog-foot spread">
        <${Danger} text="Delete" confirm="Delete the set" isBusy=${remove.isBusy} onConfirm=${() => remove.run()}
          question=${`“${set.name}” goes with its ${countOf(set.labels.length, "label")}, their marks and calibrations. The images stay.`} />
        <button type="submit" class="button primary" disabled=${save.isBusy || !name.trim()}>Save</button>
      </footer>
    </form>
  <//>`;
}

/** A new label (`label` is null), or another name and other prompts of one. `onDone` gets its name, or null. */
export function LabelDialog({ set, label, onClose, onDone }) {
  const [name, setName] = useState(label?.label ?? "");
  const before = label ? label.prompts.join("\n") : "";
  const [text, setText] = useState(before);
  const made = set.template.replaceAll("{label}", name.trim() || "...");
  const save = useWork(async () => {
    const prompts = text.split("\n").map((line) => line.trim()).filter(Boolean);
    if (label === null) await ask(pathOfSet(set.name, "labels"), { json: { label: name.trim(), prompts } });
    else {
      const json = {};
      if (name.trim() !== label.label) json.label = name.trim();
      if (text !== before) json.prompts = prompts;
      if (Object.keys(json).length) await ask(pathOfLabel({ set: set.name, label: label.label }), { method: "PATCH", json });
    }
    onDone(name.trim());
  });
  const remove = useWork(async () => {
    await ask(pathOfLabel({ set: set.name, label: label.label }), { method: "DELETE" });
    onDone(null);
  });
  const submit = (event) => {
    event.preventDefault();
    save.run();
  };
  return html`<${Dialog} title=${label ? "Label" : `New label of ${set.name}`} onClose=${onClose}>
    <form class="form" onSubmit=${submit}>
      <${TextField} label="Name" value=${name} onInput=${setName} required maxlength="1000" autofocus=${!label} />
      <${TextField} label="Prompts, one a line" rows="4" value=${text} onInput=${setText} placeholder=${made} hint=${`Their mean stands for the label. Without any: “${made}”`} />
      <${FormError} error=${save.error ?? remove.error} />
      <footer class=${`dialog-foot ${label ? "spread" : ""}`}>
        ${label && html`<${Danger} text="Remove" confirm="Remove the label" isBusy=${remove.isBusy} onConfirm=${() => remove.run()} question=${`“${label.label}” goes with its marks and calibrations. The images stay.`} />`}
        <button type="submit" class="button primary" disabled=${save.isBusy || !name.trim()}>${label ? "Save" : "Add it"}</button>
      </footer>
    </form>
  <//>`;
}
