// What narrows and orders the results: the row below the search box, and the panel that it opens.
import { useAnswer } from "../api.js";
import { Icon, Switch, formatScore, scalePlace, scaleScore } from "../ui.js";
import { html, useEffect, useRef, useState } from "../vendor/htm-preact.js";
import { hasQuery } from "./state.js";

const STEPS = 100;
const SLIDING_MS = 110;
const MOST_KEYS = 8;
const MOST_VALUES = 10;

/** A slider that is followed while it is dragged, and told a moment later. Its value is a place in [0, 1]. */
function Slider({ place, onPlace, label, text, disabled = false }) {
  const [dragged, setDragged] = useState(null);
  const timer = useRef(null);
  useEffect(() => () => clearTimeout(timer.current), []);
  const shown = dragged ?? place;
  const onInput = (event) => {
    const next = Number(event.currentTarget.value) / STEPS;
    setDragged(next);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      onPlace(next);
      setDragged(null);
    }, SLIDING_MS);
  };
  return html`<input type="range" min="0" max=${STEPS} step="1" aria-label=${label} aria-valuetext=${text(shown)} disabled=${disabled} value=${Math.round(shown * STEPS)} onInput=${onInput} />
    <output class="slider-value numbers">${text(shown)}</output>`;
}

/** The cut-off: only results with at least this score. */
function Relevance({ state, change }) {
  const text = (place) => (place === 0 ? "all" : `≥ ${formatScore(scaleScore(place))}`);
  return html`<div class="relevance no-lasso" title="Leave out what has a lower score">
    <span aria-hidden="true">Only relevant</span>
    <${Slider} label="Only relevant: least score" text=${text} disabled=${!hasQuery(state)} place=${scalePlace(state.minScore)}
      onPlace=${(place) => change({ minScore: scaleScore(place) }, { replace: true })} />
  </div>`;
}

/** Keys and values that results had: pills that are pressed or not. */
function MetadataFilter({ state, change, seen }) {
  const [key, setKey] = useState("");
  const [value, setValue] = useState("");
  const set = (name, chosen) => {
    const { [name]: _, ...rest } = state.filter;
    change({ filter: chosen === undefined ? rest : { ...rest, [name]: chosen } });
  };
  const keys = [...seen].filter(([name, values]) => name in state.filter || (values.size > 1 && values.size <= 40)).slice(0, MOST_KEYS);
  const submit = (event) => {
    event.preventDefault();
    const known = [...(seen.get(key.trim())?.keys() ?? [])].find((each) => String(each) === value.trim()); // numbers stay numbers
    if (key.trim()) set(key.trim(), known ?? value.trim());
    setKey("");
    setValue("");
  };
  return html`<section class="panel-section">
    <h2>Metadata</h2>
    ${keys.map(([name, values]) => html`<div class="facet" key=${name}>
      <h3 id=${`facet-${encodeURIComponent(name)}`}>${name}</h3>
      <div class="pills" role="group" aria-labelledby=${`facet-${encodeURIComponent(name)}`}>
        ${[...values].sort((a, b) => b[1] - a[1]).filter(([each], place) => place < MOST_VALUES || state.filter[name] === each).map(([each]) => html`<button
          type="button" class="pill" key=${String(each)} aria-pressed=${state.filter[name] === each} onClick=${() => set(name, state.filter[name] === each ? undefined : each)}
        >${String(each)}</button>`)}
      </div>
    </div>`)}
    <form class="other" onSubmit=${submit}>
      <input class="input" aria-label="Key" placeholder="key" required list="filter-keys" value=${key} onInput=${(event) => setKey(event.currentTarget.value)} />
      <span aria-hidden="true">=</span>
      <input class="input" aria-label="Value" placeholder="value" required list="filter-values" value=${value} onInput=${(event) => setValue(event.currentTarget.value)} />
      <button type="submit" class="button">Add</button>
      <datalist id="filter-keys">${[...seen.keys()].map((each) => html`<option value=${each} />`)}</datalist>
      <datalist id="filter-values">${[...(seen.get(key.trim())?.keys() ?? [])].map((each) => html`<option value=${String(each)} />`)}</datalist>
    </form>
  </section>`;
}

/** Labels that images must have, each with its least score. */
function LabelFilters({ state, change }) {
  const { data } = useAnswer("/v1/labels");
  const sets = (data ?? []).filter((set) => set.labels.length);
  if (!sets.length) return null;
  const isSame = (a, set, label) => a.label_set === set && a.label === label;
  const put = (set, label, score, options) => {
    const there = state.labels.some((each) => isSame(each, set, label));
    const next = { label_set: set, label, min_score: score };
    change({ labels: there ? state.labels.map((each) => (isSame(each, set, label) ? next : each)) : [...state.labels, next] }, options);
  };
  const text = (place) => (place === 0 ? "its threshold" : `≥ ${formatScore(place)}`);
  return html`<section class="panel-section">
    <h2>Labels</h2>
    ${sets.map((set) => html`<div class="facet" key=${set.name}>
      <h3 id=${`labels-${encodeURIComponent(set.name)}`}>${set.name}</h3>
      <div class="pills" role="group" aria-labelledby=${`labels-${encodeURIComponent(set.name)}`}>
        ${set.labels.map(({ label }) => {
          const chosen = state.labels.some((each) => isSame(each, set.name, label));
          return html`<button type="button" class="pill" key=${label} aria-pressed=${chosen}
            onClick=${() => (chosen ? change({ labels: state.labels.filter((each) => !isSame(each, set.name, label)) }) : put(set.name, label, null))}
          >${label}</button>`;
        })}
      </div>
      ${state.labels.filter((each) => each.label_set === set.name).map((each) => html`<div class="label-slider" key=${each.label}>
        <span>${each.label}</span>
        <${Slider} label=${`Least score of ${each.label}`} text=${text} place=${each.min_score ?? 0}
          onPlace=${(place) => put(set.name, each.label, place || null, { replace: true })} />
      </div>`)}
    </div>`)}
  </section>`;
}

/** What narrows the results, as pills that take it away. */
function ActiveFilters({ state, change }) {
  const pills = [
    ...Object.entries(state.filter).map(([key, value]) => {
      const { [key]: _, ...rest } = state.filter;
      return [`${key}: ${typeof value === "object" ? JSON.stringify(value) : value}`, { filter: rest }];
    }),
    ...state.labels.map((each) => [
      `${each.label}${each.min_score === null ? "" : ` ≥ ${formatScore(each.min_score)}`}`,
      { labels: state.labels.filter((other) => other !== each) },
    ]),
  ];
  if (!pills.length) return null;
  return html`<div class="pills active-filters" role="group" aria-label="Active filters">
    ${pills.map(([text, without]) => html`<button type="button" class="pill" key=${text} aria-label=${`Remove the filter ${text}`} onClick=${() => change(without)}>${text}<${Icon} name="close" size=${13} /></button>`)}
  </div>`;
}

/** The row of filters. `seen` is a Map of keys to Maps of values that results had. */
export function Filters({ state, change, seen, summary }) {
  const { data: collections } = useAnswer("/v1/collections");
  const [isOpen, setOpen] = useState(false);
  const count = Object.keys(state.filter).length + state.labels.length;
  const names = (collections ?? []).map((each) => each.collection);
  if (state.collection && !names.includes(state.collection)) names.push(state.collection);
  return html`<div class=${`filters no-lasso ${isOpen ? "is-open" : ""}`}>
    <div class="filter-row">
      <button type="button" class=${`pill ${count ? "has-some" : ""}`} aria-expanded=${isOpen} aria-controls="filter-panel" onClick=${() => setOpen(!isOpen)}>
        <${Icon} name="filter" size=${16} />Filters${count ? html` <span class="count numbers">${count}</span>` : ""}
      </button>
      <select class="select" aria-label="Collection" value=${state.collection ?? ""} onChange=${(event) => change({ collection: event.currentTarget.value || null })}>
        <option value="">All collections</option>
        ${names.map((each) => html`<option value=${each}>${each}</option>`)}
      </select>
      <select class="select" aria-label="Order" value=${state.sort} onChange=${(event) => change({ sort: event.currentTarget.value })}>
        <option value="relevance">${hasQuery(state) ? "Best first" : "Last added first"}</option>
        <option value="newest">Newest first</option>
        <option value="oldest">Oldest first</option>
      </select>
      <div class="filter-more">
        <${Relevance} state=${state} change=${change} />
        <${Switch} label="Fold near-duplicates" isOn=${state.isFolded} onChange=${(isOn) => change({ isFolded: isOn })} hint="Show one of several images that are nearly the same" />
      </div>
      ${summary}
    </div>
    <div id="filter-panel" class="panel" hidden=${!isOpen}>
      ${isOpen && html`<${MetadataFilter} state=${state} change=${change} seen=${seen} /><${LabelFilters} state=${state} change=${change} />`}
    </div>
    <${ActiveFilters} state=${state} change=${change} />
  </div>`;
}
