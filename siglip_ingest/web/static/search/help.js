// The keys, and how to write a query.
import { Dialog } from "../ui.js";
import { html } from "../vendor/htm-preact.js";

const KEYS = [
  ["/", "to the search box"],
  ["↓", "from the search box to the results"],
  ["← → ↑ ↓", "through the results; Home and End in a row, with Ctrl in all"],
  ["Enter", "open the image"],
  ["m", "more like this"],
  ["u", "unfold near-duplicates"],
  ["x, Space", "select; Shift and an arrow for several, Ctrl A for all shown"],
  ["t, Delete", "tag, or delete, what is selected"],
  ["h", "in an open image: where the text matches"],
  ["Escape", "close, or clear the selection"],
  ["?", "this help"],
];

export function Help({ onClose }) {
  return html`<${Dialog} title="Keys" onClose=${onClose} class="help">
    <dl class="keys">${KEYS.map(([key, what]) => html`<dt>${key.split(", ").map((each) => html`<kbd>${each}</kbd>`)}</dt><dd>${what}</dd>`)}</dl>
    <p class="quiet">Type <code>+beach</code> or <code>-people</code> to add what should be there, or shouldn't; <code>-"red car"</code> for several words. Drop or paste an image anywhere to search by it. Draw a rectangle beside the images to select them.</p>
  <//>`;
}
