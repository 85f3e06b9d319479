// The view /models: what each model has, adding one, comparing two, switching.
import { ask, useAnswer, useMay } from "../api.js";
import { withQuery } from "../format.js";
import { navigate } from "../router.js";
import { ErrorNotice, Icon, Notice, Switch, toast } from "../ui.js";
import { html, useEffect, useState } from "../vendor/htm-preact.js";
import { ModelCard } from "./card.js";
import { Compare } from "./compare.js";
import { AddDialog, DropDialog, SwitchDialog } from "./dialogs.js";

const BUSY_S = 2;
const QUIET_S = 15;

export function ModelsView({ place }) {
  const { data: models, error, reload } = useAnswer("/v1/models");
  const byCollection = place.query.get("by") === "collection";
  const { data: coverage, reload: reloadCoverage } = useAnswer(byCollection ? "/v1/models/collections" : null);
  const [dialog, setDialog] = useState(null);
  const mayChange = useMay("admin");
  const find = (name) => models?.find((each) => each.model_id === Number(place.query.get(name)) && each.state !== "dropped");
  const [a, b] = [find("a"), find("b")];
  const active = models?.find((each) => each.state === "active");
  const comparable = models?.filter((each) => each.state !== "dropped") ?? [];
  const isBusy = models?.some((each) => each.queued > 0 || each.labels_missing > 0 || each.state === "dropped");

  useEffect(() => { // it follows what the workers do, slower while they do nothing
    if (!models) return undefined;
    const look = () => {
      if (document.hidden) return;
      reload();
      if (byCollection) reloadCoverage();
    };
    const timer = setInterval(look, 1000 * (isBusy ? BUSY_S : QUIET_S));
    return () => clearInterval(timer);
  }, [Boolean(models), isBusy, byCollection]);

  const show = (changes) => navigate(withQuery(place, changes), { replace: true });
  const close = () => setDialog(null);
  const done = (said) => {
    close();
    reload();
    toast(said);
  };
  const queue = async (model) => {
    try {
      await ask("/v1/models", { json: { name: model.model } });
      done("What is missing is queued.");
    } catch (problem) {
      toast(problem.detail, { tone: "danger" });
    }
  };
  const compare = (model) => show({ a: active?.model_id ?? comparable.find((each) => each !== model)?.model_id, b: model.model_id });

  let content;
  if (error && !models) content = html`<${ErrorNotice} error=${error} onRetry=${reload} />`;
  else if (!models) content = html`<div aria-busy="true"></div>`;
  else if (!models.length) {
    content = html`<${Notice} icon="stack" title="There is no model yet">
      <p>The first worker that starts brings one: <code>siglip-ingest worker</code>. Or add one here, and it is active once a worker has loaded it.</p>
      ${mayChange && html`<div class="actions"><button type="button" class="button primary" onClick=${() => setDialog({ kind: "add" })}>Add a model</button></div>`}
    <//>`;
  } else {
    content = html`
      <ul class="models">
        ${models.map((model) => html`<${ModelCard}
          key=${model.model_id} model=${model} collections=${byCollection ? coverage?.filter((each) => each.model_id === model.model_id) : null}
          isPaired=${Boolean(a && b) && (model === a || model === b)} mayChange=${mayChange} onCompare=${compare} onQueue=${queue}
          onSwitch=${(each) => setDialog({ kind: "switch", model: each })} onDrop=${(each) => setDialog({ kind: "drop", model: each })}
        />`)}
      </ul>
      ${comparable.length < 2 && mayChange && html`<p class="quiet models-hint"><${Icon} name="info" size=${16} />Add a second model to see what it would find: side by side, and measured on what people asked and marked. Searches go on meanwhile.</p>`}
      ${a && b && a !== b && (!byCollection || coverage) && html`<${Compare} a=${a} b=${b} models=${comparable} place=${place} />`}
    `;
  }
  const shown = models?.find((each) => each.model_id === dialog?.model?.model_id) ?? dialog?.model;
  return html`<main id="main" class="page models-page">
    <header class="page-head">
      <h1>Models</h1>
      ${models?.length > 0 && html`<div class="page-actions">
        <${Switch} label="By collection" isOn=${byCollection} onChange=${(isOn) => show({ by: isOn ? "collection" : null })} />
        ${mayChange && html`<button type="button" class="button" onClick=${() => setDialog({ kind: "add" })}><${Icon} name="plus" size=${16} />Add a model</button>`}
      </div>`}
    </header>
    ${content}
    ${dialog?.kind === "add" && html`<${AddDialog} images=${models[0]?.images ?? 0} onClose=${close} onDone=${(name) => done(`${name} is added: workers embed the images.`)} />`}
    ${dialog?.kind === "switch" && html`<${SwitchDialog} model=${shown} active=${active} onClose=${close} onDone=${(model) => done(`${model.model} is active now.`)} />`}
    ${dialog?.kind === "drop" && html`<${DropDialog} model=${shown} onClose=${close} onDone=${(model) => done(`${model.model} is dropped.`)} />`}
  </main>`;
}
