// Two models side by side: measures of what people asked and marked, and what both find for a text.
import { ApiError, ask, recoveries, useAnswer } from "../api.js";
import { withQuery } from "../format.js";
import { navigate } from "../router.js";
import { Thumbnail, thumbnailOf } from "../thumbnail.js";
import { ErrorNotice, Icon, IconButton, formatCount, formatScore } from "../ui.js";
import { html, useEffect, useRef, useState } from "../vendor/htm-preact.js";

const PAUSE_MS = 250;
const SHOWN = 12;
// What the measures are called for people, how their values read, and whether more of them, or less, is better.
const MEASURES = [
  [/^images embedded/, { name: "Images embedded", as: "count" }],
  [/^overlap@(\d+) of queries/, { name: (found) => `Same results among the first ${found[1]}`, as: "share" }],
  [/^same best result/, { name: "Same best result", as: "share" }],
  [/^score of the best result/, { name: "Mean score of the best result", as: "score" }],
  [/^recall@(\d+) of marked/, { name: (found) => `Marked images among the first ${found[1]}`, as: "share", better: 1 }],
  [/^rank of marked/, { name: "Median place of marked images", as: "place", better: -1 }],
  [/^average precision/, { name: "Average precision of the marks", as: "score", better: 1 }],
  [/^labels of an image/, { name: "Labels of an image", as: "score" }],
  [/^label agreement, kappa/, { name: "Label agreement beyond chance", as: "score" }],
  [/^label agreement/, { name: "Label agreement", as: "share" }],
];
const COMMON = /^(overlap|same|label agreement)/; // one value of both

function describeMeasure(measure) {
  for (const [pattern, described] of MEASURES) {
    const found = measure.match(pattern);
    if (found) return { ...described, name: typeof described.name === "function" ? described.name(found) : described.name };
  }
  return { name: measure, as: "score" };
}

function formatValue(value, as) {
  if (value === null) return "–";
  if (as === "share") return `${(100 * value).toFixed(value > 0 && value < 0.1 ? 1 : 0)} %`;
  if (as === "count") return formatCount(value);
  if (as === "place") return value < 10 ? String(Math.round(value * 10) / 10) : formatCount(Math.round(value));
  return value.toFixed(2);
}

function Measures({ a, b }) {
  const { data, error, isLoading, reload } = useAnswer("/v1/models/compare", { a: a.model_id, b: b.model_id });
  if (error && !data) return html`<${ErrorNotice} error=${error} onRetry=${reload} />`;
  if (!data) return html`<p class="quiet" aria-busy="true">Comparing: this asks both models what people asked last ...</p>`;
  return html`<div class="table-frame" role="region" aria-label="Measures" tabindex="0" aria-busy=${isLoading}><table class="data-table measures">
    <caption class="hidden-text">${a.model} and ${b.model} compared</caption>
    <thead><tr><th scope="col">Measure</th><th scope="col" class="number">${a.model}</th><th scope="col" class="number">${b.model}</th><th scope="col" class="number">Cases</th></tr></thead>
    <tbody>
      ${data.map((row) => {
        const { name, as, better } = describeMeasure(row.measure);
        const ahead = better && row.value_a !== null && row.value_b !== null ? Math.sign((row.value_a - row.value_b) * better) : 0;
        return html`<tr key=${row.measure}>
          <th scope="row">${name}${row.note && html`<small class="quiet">${row.note}</small>`}</th>
          ${COMMON.test(row.measure)
            ? html`<td class="number common" colspan="2">${formatValue(row.value_a, as)}</td>`
            : html`<td class=${`number ${ahead > 0 ? "ahead" : ""}`}>${formatValue(row.value_a, as)}</td><td class=${`number ${ahead < 0 ? "ahead" : ""}`}>${formatValue(row.value_b, as)}</td>`}
          <td class="number quiet">${formatCount(row.n)}</td>
        </tr>`;
      })}
    </tbody>
  </table></div>`;
}

/** What both find for a text; the newest question wins. */
function useSideBySide(a, b, text) {
  const [answer, setAnswer] = useState({ found: null, error: null, isPending: false });
  const recovery = recoveries.use();
  const [round, setRound] = useState(0);
  useEffect(() => {
    if (!text) {
      setAnswer({ found: null, error: null, isPending: false });
      return undefined;
    }
    const controller = new AbortController();
    setAnswer((before) => ({ ...before, isPending: true }));
    const timer = setTimeout(async () => {
      try {
        const query = { a: a.model_id, b: b.model_id, q: text, limit: SHOWN };
        setAnswer({ found: await ask("/v1/models/compare/search", { query, signal: controller.signal }), error: null, isPending: false });
      } catch (error) {
        if (error.name === "AbortError") return;
        if (!(error instanceof ApiError)) throw error;
        setAnswer((before) => ({ ...before, error, isPending: false }));
      }
    }, PAUSE_MS);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [a.model_id, b.model_id, text, recovery, round]);
  return { ...answer, again: () => setRound((before) => before + 1) };
}

const ENDINGS = { one: "st", two: "nd", few: "rd", other: "th" };
const ORDINALS = new Intl.PluralRules("en", { type: "ordinal" });

function ordinal(number) {
  return `${number}${ENDINGS[ORDINALS.select(number)]}`;
}

function Column({ model, side, others, hovered, onHover }) {
  const places = new Map(others.matches.map((match, place) => [match.image_id, place + 1]));
  return html`<section class="compare-column">
    <h3>${model.model} <span class="strip-hint numbers">${side.took_ms} ms</span></h3>
    <ol>
      ${side.matches.map((match, place) => {
        const other = places.get(match.image_id);
        const moved = other === undefined ? "only here" : other === place + 1 ? "same place" : `${other > place + 1 ? "▼" : "▲"} ${ordinal(other)} there`;
        const said = other === undefined ? "only found here" : `place ${other} in the other`;
        return html`<li key=${match.image_id} class=${`compare-match ${other === undefined ? "" : "is-common"} ${hovered === match.image_id ? "is-hovered" : ""}`} onMouseEnter=${() => onHover(match.image_id)} onMouseLeave=${() => onHover(null)}>
          <span class="compare-place numbers" aria-hidden="true">${place + 1}</span>
          <span class="compare-image"><${Thumbnail} path=${thumbnailOf(match, 120)} alt=${match.name} /></span>
          <span class="compare-words"><span class="compare-name">${match.name}</span><span class="quiet numbers">${formatScore(match.score)}</span></span>
          <span class=${`badge ${other === undefined ? "" : "accent"}`} aria-label=${said}>${moved}</span>
        </li>`;
      })}
    </ol>
    ${!side.matches.length && html`<p class="quiet">It finds nothing.</p>`}
  </section>`;
}

/** The part of the view that compares `a` and `b`, which its address names, as it does the text. */
export function Compare({ a, b, models, place }) {
  const text = place.query.get("q") ?? "";
  const { found, error, isPending, again } = useSideBySide(a, b, text.trim());
  const [hovered, setHovered] = useState(null);
  const section = useRef();
  const show = (changes) => navigate(withQuery(place, changes), { replace: true });
  useEffect(() => section.current.scrollIntoView({ block: "start", behavior: "smooth" }), [a.model_id, b.model_id]);
  const Choice = ({ name, value, other }) => html`<label class="inline-field"><span class="hidden-text">Model ${name}</span>
    <select class="select" value=${value} onChange=${(event) => show({ [name]: event.currentTarget.value })}>
      ${models.map((each) => html`<option key=${each.model_id} value=${each.model_id} disabled=${each.model_id === other}>${each.model}</option>`)}
    </select>
  </label>`;
  return html`<section class="compare" ref=${section} aria-labelledby="compare-title">
    <header class="page-head">
      <h2 id="compare-title">Side by side</h2>
      <div class="compare-choices">
        ${Choice({ name: "a", value: a.model_id, other: b.model_id })}
        <${IconButton} icon="swap" label="Exchange them" onClick=${() => show({ a: b.model_id, b: a.model_id })} />
        ${Choice({ name: "b", value: b.model_id, other: a.model_id })}
        <${IconButton} icon="close" label="Close the comparison" onClick=${() => show({ a: null, b: null, q: null })} />
      </div>
    </header>
    <label class="compare-search"><span class="hidden-text">Search with both models</span><${Icon} name="search" size=${18} />
      <input type="search" placeholder="Search with both" value=${text} onInput=${(event) => show({ q: event.currentTarget.value })} />
    </label>
    ${error && html`<p class="form-error" role="alert">${error.detail} <button type="button" class="button small" onClick=${again}>Try again</button></p>`}
    ${found && html`
      <p class="quiet compare-summary" role="status">${found.common.length ? `${found.common.length} of the first ${Math.max(found.a.matches.length, found.b.matches.length)} are the same.` : "They have no result in common."}</p>
      <div class="compare-columns" aria-busy=${isPending}>
        <${Column} model=${a} side=${found.a} others=${found.b} hovered=${hovered} onHover=${setHovered} />
        <${Column} model=${b} side=${found.b} others=${found.a} hovered=${hovered} onHover=${setHovered} />
      </div>`}
    ${!found && !error && text.trim() && html`<p key="waiting" class="quiet compare-waiting" aria-busy=${isPending}>Searching with both ...</p>`}
    <h3 class="measures-title">By what people asked and marked</h3>
    <${Measures} a=${a} b=${b} />
  </section>`;
}
