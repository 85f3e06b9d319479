// The search box: words and terms, and the button for an image.
import { Icon, IconButton } from "../ui.js";
import { html, useEffect, useRef, useState } from "../vendor/htm-preact.js";
import { Chip } from "./chip.js";
import { endsTerm, readTyped } from "./state.js";

const DEBOUNCE_MS = 80;

/**
 * The search box.
 *
 * `onTyped(text)` is called a moment after the last key; `onParts(parts, text)` when terms change; `onImage(file)` when
 * a file was chosen. `input` is a ref that gets the box.
 */
export function QueryBox({ state, input, isPending, isUploading, onTyped, onParts, onImage, onClear, onLeave }) {
  const [typed, setTyped] = useState(state.text);
  const timer = useRef(null);
  const sent = useRef(state.text);
  const file = useRef();

  // What another part of the page, or "back", changed; not what we said ourselves.
  useEffect(() => {
    if (state.text === sent.current) return;
    sent.current = state.text;
    clearTimeout(timer.current);
    setTyped(state.text);
  }, [state.text]);
  useEffect(() => () => clearTimeout(timer.current), []);

  /** The text that the address gets: without the space in which the next word begins. */
  const take = (text) => {
    clearTimeout(timer.current);
    sent.current = text.trimEnd();
    return sent.current;
  };
  const send = (text) => onTyped(take(text));
  const takeTerms = (text) => {
    const { text: rest, parts } = readTyped(text);
    setTyped(rest && `${rest} `); // where the next term begins
    onParts([...state.parts, ...parts], take(rest));
  };
  const onInput = (event) => {
    const text = event.currentTarget.value;
    setTyped(text);
    if (endsTerm(text)) {
      takeTerms(text);
      return;
    }
    clearTimeout(timer.current);
    timer.current = setTimeout(() => send(text), DEBOUNCE_MS);
  };
  const onSubmit = (event) => {
    event.preventDefault();
    if (readTyped(typed).parts.length) takeTerms(typed);
    else send(typed);
  };
  const onKeyDown = (event) => {
    if (event.key === "Backspace" && !typed && state.parts.length) {
      event.preventDefault();
      onParts(state.parts.slice(0, -1), "");
    } else if (event.key === "ArrowDown") {
      event.preventDefault();
      onLeave();
    } else if (event.key === "Escape") {
      event.currentTarget.blur();
    }
  };
  const weigh = (place, weight) => onParts(state.parts.map((part, index) => (index === place ? { ...part, weight } : part)), take(typed), true);
  const remove = (place) => {
    onParts(state.parts.filter((_, index) => index !== place), take(typed));
    input.current.focus();
  };
  const isEmpty = !typed && !state.parts.length;

  return html`<form class=${`query ${isPending ? "is-pending" : ""}`} role="search" onSubmit=${onSubmit}>
    <span class="query-icon"><${Icon} name="search" size=${21} /></span>
    <div class="query-terms">
      ${state.parts.map((part, place) => html`<${Chip}
        key=${`${part.kind} ${part.value} ${place}`} part=${part} onWeigh=${(weight) => weigh(place, weight)} onRemove=${() => remove(place)}
      />`)}
      ${isUploading && html`<span class="chip is-busy" role="status"><${Icon} name="refresh" size=${15} />Uploading</span>`}
      <input
        ref=${input} class="query-input" type="text" enterkeyhint="search" autocomplete="off" autocapitalize="off" spellcheck=${false} maxlength="2000"
        aria-label="Search images" aria-describedby="query-hint" placeholder=${isEmpty ? "What is on the image?" : "and …, -without"}
        value=${typed} onInput=${onInput} onKeyDown=${onKeyDown}
      />
    </div>
    <span id="query-hint" class="hidden-text">Words, and terms such as +beach and -people. Drop or paste an image to search by it. Arrow down goes to the results.</span>
    ${!isEmpty && html`<${IconButton} icon="close" label="Clear the search" onClick=${() => { setTyped(""); sent.current = ""; onClear(); input.current.focus(); }} />`}
    <${IconButton} icon="image" label="Search by an image: choose a file, or drop or paste one anywhere" onClick=${() => file.current.click()} />
    <input ref=${file} type="file" accept="image/*" hidden tabindex="-1" aria-label="An image to search by" onChange=${(event) => {
      if (event.currentTarget.files.length) onImage(event.currentTarget.files[0]);
      event.currentTarget.value = "";
    }} />
  </form>`;
}
