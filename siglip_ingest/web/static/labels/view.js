// The view /labels: the sets and their labels, and the one that the address names.
import { useAnswer, useMay } from "../api.js";
import { followLink, navigate } from "../router.js";
import { ErrorNotice, Icon, IconButton, Notice, toast } from "../ui.js";
import { html, useEffect, useState } from "../vendor/htm-preact.js";
import { LabelDialog, NewSetDialog, SetDialog } from "./dialogs.js";
import { LabelPane } from "./label.js";
import { showScore } from "./scale.js";

const IS_WIDE = matchMedia("(min-width: 820px)");
const LOOK_AGAIN_S = 2;

function addressOf(set, label) {
  return `/labels?${new URLSearchParams({ set, label })}`;
}

/** The address of the search that shows every image which has a label. */
function searchOf({ set, label }) {
  return `/?${new URLSearchParams({ label: `${encodeURIComponent(set)}:${encodeURIComponent(label)}` })}`;
}

function Sets({ sets, chosen, mayChange, onEditSet, onAddLabel, onNewSet }) {
  return html`<nav class="label-sets" aria-label="Label sets">
    ${sets.map((set) => html`<section key=${set.name} class="label-set">
      <header>
        <h2 title=${set.name}>${set.name}</h2>
        ${mayChange && html`<${IconButton} icon="plus" size=${16} label=${`Add a label to ${set.name}`} onClick=${() => onAddLabel(set)} />
          <${IconButton} icon="more" size=${16} label=${`Change ${set.name}`} onClick=${() => onEditSet(set)} />`}
      </header>
      <ul>
        ${set.labels.map((each) => {
          const isChosen = chosen?.set === set.name && chosen?.label === each.label;
          return html`<li key=${each.label}><a href=${addressOf(set.name, each.label)} onClick=${followLink} aria-current=${isChosen ? "true" : undefined}>
            <span class="label-name">${each.label}</span>
            ${each.is_ready ? html`<span class="label-threshold numbers">${each.threshold === null ? "" : showScore(each.threshold)}</span>` : html`<span class="label-threshold">...</span>`}
          </a></li>`;
        })}
        ${set.labels.length === 0 && html`<li class="quiet">No labels yet.</li>`}
      </ul>
    </section>`)}
    ${mayChange && html`<button type="button" class="button new-set" onClick=${onNewSet}><${Icon} name="plus" size=${16} />New label set</button>`}
  </nav>`;
}

function Intro({ mayChange, onNewSet }) {
  return html`<${Notice} icon="label" title="Labels sort your images by words">
    <p>A label set is a list such as <em>sunset, night sky, storm</em>. Every image gets a score for each of them, at once and as new ones come; you choose where a label begins, and teach it with a few marks.</p>
    ${mayChange && html`<div class="actions"><button type="button" class="button primary" onClick=${onNewSet}>Make a label set</button></div>`}
  <//>`;
}

export function LabelsView({ place }) {
  const { data: sets, error, reload } = useAnswer("/v1/labels");
  const { data: collections } = useAnswer("/v1/collections");
  const [dialog, setDialog] = useState(null);
  const mayChange = useMay("write");
  const [version, setVersion] = useState(0);
  const [isMoving, setMoving] = useState(false); // a name has changed, and the list isn't the new one yet
  const [isWide, setWide] = useState(IS_WIDE.matches);
  const asked = { set: place.query.get("set"), label: place.query.get("label") };
  const set = sets?.find((each) => each.name === asked.set);
  const status = set?.labels.find((each) => each.label === asked.label);
  const chosen = status ? { set: set.name, label: status.label } : null;

  useEffect(() => {
    const listen = () => setWide(IS_WIDE.matches);
    IS_WIDE.addEventListener("change", listen);
    return () => IS_WIDE.removeEventListener("change", listen);
  }, []);
  useEffect(() => { // on a wide screen there is room for a label beside the list
    if (!isWide || !sets || asked.label || isMoving) return;
    const first = (set ?? sets.find((each) => each.labels.length))?.labels[0];
    if (first) navigate(addressOf((set ?? sets.find((each) => each.labels.length)).name, first.label), { replace: true });
  }, [isWide, sets, asked.label, asked.set, isMoving]);
  useEffect(() => setMoving(false), [sets]);
  const isWaiting = sets?.some((each) => each.labels.some((label) => !label.is_ready && !Object.keys(label.refusals).length));
  useEffect(() => {
    if (!isWaiting) return undefined;
    const timer = setTimeout(reload, 1000 * LOOK_AGAIN_S);
    return () => clearTimeout(timer);
  }, [sets]);

  const changed = () => {
    reload();
    setVersion((before) => before + 1);
  };
  const close = () => setDialog(null);
  const go = (to, said) => {
    close();
    const isHere = new URL(to, location.href).search === location.search;
    if (isHere) changed(); // a label that has another name is asked for by that one, once the list has it
    else {
      setMoving(true);
      reload();
      navigate(to, { replace: true });
    }
    if (said) toast(said);
  };
  const edit = (kind, more = {}) => setDialog({ kind, ...more });

  let content;
  if (error && !sets) content = html`<${ErrorNotice} error=${error} onRetry=${reload} />`;
  else if (!sets) content = html`<div class="label-layout" aria-busy="true"></div>`;
  else if (!sets.length) content = html`<${Intro} mayChange=${mayChange} onNewSet=${() => edit("new")} />`;
  else {
    const hasPane = Boolean(chosen || asked.label);
    content = html`<div class=${`label-layout ${hasPane ? "has-pane" : ""}`}>
      <${Sets} sets=${sets} chosen=${chosen} mayChange=${mayChange} onNewSet=${() => edit("new")} onEditSet=${(each) => edit("set", { set: each })} onAddLabel=${(each) => edit("label", { set: each, label: null })} />
      <div class="label-pane">
        ${hasPane && html`<a class="back" href="/labels" onClick=${followLink}><${Icon} name="left" size=${16} />All labels</a>`}
        ${chosen && html`
          <header class="label-head">
            <div>
              <h1>${chosen.label}</h1>
              <p class="quiet prompts">${status.is_by_example ? "Learned from marked images." : status.prompts.map((prompt) => `“${prompt}”`).join(", ")}</p>
            </div>
            <div class="label-actions">
              <a class="button small" href=${searchOf(chosen)} onClick=${followLink}><${Icon} name="search" size=${16} />Show all</a>
              ${mayChange && html`<button type="button" class="button small" onClick=${() => edit("label", { set, label: status })}>Edit</button>`}
            </div>
          </header>
          <${LabelPane} key=${JSON.stringify(chosen)} chosen=${chosen} status=${status} place=${place} collections=${collections ?? []} version=${version} onChanged=${changed} onEdit=${() => edit("label", { set, label: status })} />
        `}
        ${!chosen && asked.label && !isMoving && html`<${Notice} icon="label" title="There is no such label">
          <p>${asked.set} has no label “${asked.label}”. It may have been renamed or removed.</p>
          <a class="button" href="/labels" onClick=${followLink}>All labels</a>
        <//>`}
        ${!hasPane && html`<h1 class="hidden-text">Labels</h1>`}
      </div>
    </div>`;
  }
  return html`<main id="main" class="page labels-page">
    ${(!sets || !sets.length) && html`<h1 class="hidden-text">Labels</h1>`}
    ${content}
    ${dialog?.kind === "new" && html`<${NewSetDialog} onClose=${close} onMade=${(name, label) => go(addressOf(name, label), `“${name}” is made.`)} />`}
    ${dialog?.kind === "set" && html`<${SetDialog} set=${dialog.set} onClose=${close} onDone=${(name) => {
      if (name === null) go("/labels", `“${dialog.set.name}” is deleted.`);
      else go(asked.set === dialog.set.name && asked.label ? addressOf(name, asked.label) : place.path + location.search);
    }} />`}
    ${dialog?.kind === "label" && html`<${LabelDialog} set=${dialog.set} label=${dialog.label} onClose=${close} onDone=${(name) => {
      if (name === null) go("/labels", `“${dialog.label.label}” is removed.`);
      else go(addressOf(dialog.set.name, name));
    }} />`}
  </main>`;
}
