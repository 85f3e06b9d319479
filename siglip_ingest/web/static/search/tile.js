// One result in the grid.
import { Thumbnail, thumbnailOf } from "../thumbnail.js";
import { Icon, countOf, formatScore, scalePlace } from "../ui.js";
import { Component, html } from "../vendor/htm-preact.js";

const TONES = 6; // of the colour that is shown before the image is

/** What a tile is called for those who don't see it. */
function nameOf(match) {
  const score = match.score === null ? "" : `, score ${formatScore(match.score)}`;
  const folded = match.duplicates.length ? `, ${countOf(match.duplicates.length, "near-duplicate")} below it` : "";
  return `${match.name}${score}${folded}`;
}

/** Drawn again only when what it shows has changed: there are many of them. */
export class Tile extends Component {
  shouldComponentUpdate(next) {
    return ["match", "index", "left", "width", "height", "isActive", "isSelected"].some((name) => next[name] !== this.props[name]);
  }

  render({ match, index, left, width, height, isActive, isSelected, on }) {
    const style = { transform: `translateX(${left}px)`, width: `${width}px`, height: `${height}px` };
    const hasScore = match.score !== null && match.score !== undefined;
    const press = (action) => (event) => {
      event.stopPropagation();
      action(index, event);
    };
    return html`<div
      role="gridcell" class=${`tile tone-${match.image_id % TONES} ${match.foldedBelow ? "is-below" : ""}`} style=${style} data-index=${index}
      aria-label=${nameOf(match)} aria-selected=${isSelected} tabindex=${isActive ? 0 : -1}
      onClick=${(event) => on.press(index, event)} onFocus=${() => on.focus(index)}
    >
      <${Thumbnail} path=${thumbnailOf(match, Math.max(width, height))} class="tile-image" />
      <button type="button" class="tile-check" tabindex="-1" aria-label=${`${isSelected ? "Deselect" : "Select"} ${match.name}`} onClick=${press(on.toggle)}>
        <${Icon} name="check" size=${16} />
      </button>
      <button type="button" class="tile-like" tabindex="-1" aria-label=${`More like ${match.name}`} title="More like this (m)" onClick=${press(on.more)}>
        <${Icon} name="similar" size=${18} />
      </button>
      <span class="tile-caption" aria-hidden="true">
        <span class="tile-name">${match.name}</span>
        ${hasScore && html`<span class="tile-score numbers">${formatScore(match.score)}</span>`}
      </span>
      ${match.duplicates.length > 0 &&
      html`<button type="button" class="tile-badge numbers" tabindex="-1" aria-expanded=${Boolean(match.isUnfolded)}
        aria-label=${`${match.isUnfolded ? "Fold" : "Show"} ${countOf(match.duplicates.length, "near-duplicate")} of ${match.name}`}
        title=${`${countOf(match.duplicates.length, "near-duplicate")} (u)`} onClick=${press(on.unfold)}>
        <${Icon} name="stack" size=${14} />${match.duplicates.length + 1}
      </button>`}
      ${hasScore && html`<span class="tile-bar" aria-hidden="true"><span style=${{ transform: `scaleX(${scalePlace(match.score)})` }}></span></span>`}
    </div>`;
  }
}
