// What stands below the histogram: the images on both sides of the threshold, those worth marking, and the marked ones.
import { useAnswer } from "../api.js";
import { ErrorNotice, Icon, countOf } from "../ui.js";
import { html } from "../vendor/htm-preact.js";
import { pathOfLabel } from "./requests.js";
import { ReviewGrid } from "./review.js";
import { showScore } from "./scale.js";

const NO_SUGGESTIONS = "Every image that would teach this label something is marked. Calibrate it to use the marks.";

function Strip({ title, hint, matches, empty, tone, ...review }) {
  return html`<section class=${`strip ${tone}`}>
    <h2 class="small-title"><span class="strip-mark" aria-hidden="true"></span>${title} <span class="strip-hint">${hint}</span></h2>
    ${matches.length ? html`<${ReviewGrid} matches=${matches} label=${title} ...${review} />` : html`<p class="quiet strip-empty">${empty}</p>`}
  </section>`;
}

/** The images nearest to the threshold: those that just miss it on the left, as on the axis, and those that just reach it. */
export function BorderPanel({ border, threshold, ...review }) {
  if (border.error && border.at === null) return html`<${ErrorNotice} error=${border.error} />`;
  if (border.at === null) return html`<div key="waiting" aria-busy="true"></div>`;
  return html`<div class="border" aria-busy=${border.at !== threshold}>
    <${Strip} title="Just out" hint=${`below ${showScore(threshold)}`} tone="out" matches=${border.without} empty="No image scores lower." ...${review} />
    <${Strip} title="Just in" hint=${`from ${showScore(threshold)}`} tone="in" matches=${border.within} empty="No image scores as high." ...${review} />
  </div>
  <p class="quiet keys-hint"><kbd>y</kbd> right, <kbd>n</kbd> wrong, <kbd>u</kbd> undo, arrows move</p>`;
}

/** Unmarked images whose marks would teach the label most. */
export function SuggestionsPanel({ chosen, ...review }) {
  const { data, error, isLoading, reload } = useAnswer(pathOfLabel(chosen, "suggestions"), { limit: 24 });
  if (error && !data) return html`<${ErrorNotice} error=${error} onRetry=${reload} />`;
  if (!data) return html`<p class="quiet" aria-busy="true">Looking ...</p>`;
  const matches = data.map((each) => ({ ...each, score: each.calibrated_score }));
  const isAnyMarked = matches.some((match) => review.markOf(match) !== null);
  return html`<section class="strip" aria-busy=${isLoading}>
    <div class="strip-head">
      <p class="quiet">Where the label is least sure, and some that it accepts. A dozen marks of both kinds already help.</p>
      <button type="button" class="button small" disabled=${!isAnyMarked} onClick=${reload}><${Icon} name="refresh" size=${16} />The next ones</button>
    </div>
    ${matches.length ? html`<${ReviewGrid} matches=${matches} label="Images worth marking" ...${review} />` : html`<p class="quiet strip-empty">${NO_SUGGESTIONS}</p>`}
    <p class="quiet keys-hint"><kbd>y</kbd> right, <kbd>n</kbd> wrong, <kbd>u</kbd> undo, arrows move</p>
  </section>`;
}

/** What people have said so far. */
export function MarkedPanel({ marked, ...review }) {
  if (!marked) return html`<p class="quiet" aria-busy="true">Looking ...</p>`;
  const rights = marked.filter((match) => match.mark === true);
  const wrongs = marked.filter((match) => match.mark === false);
  if (!marked.length) {
    return html`<p class="quiet strip-empty">Nothing is marked yet. A mark wins over the score, and calibrating learns from it: begin with the images worth marking.</p>`;
  }
  return html`<div class="border">
    <${Strip} title="Wrong" hint=${countOf(wrongs.length, "image")} tone="wrong" matches=${wrongs} empty="No image is marked wrong: calibrating needs some." ...${review} />
    <${Strip} title="Right" hint=${countOf(rights.length, "image")} tone="right" matches=${rights} empty="No image is marked right: calibrating needs some." ...${review} />
  </div>`;
}
