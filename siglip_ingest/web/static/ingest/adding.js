// Where images come from: files and folders that are dropped or chosen, and addresses; and what they are given.
import { ask, useAnswer } from "../api.js";
import { Icon, toast, countOf } from "../ui.js";
import { html, useEffect, useRef, useState } from "../vendor/htm-preact.js";
import { readDrop, readField } from "./files.js";

/** Metadata as they are typed: "album: 2026" a line, or JSON. Throws an Error with a sentence. */
export function readMetadata(text) {
  const trimmed = text.trim();
  if (!trimmed) return {};
  if (trimmed.startsWith("{")) {
    try {
      return JSON.parse(trimmed);
    } catch (error) {
      throw new Error(`The metadata isn't JSON: ${error.message}.`);
    }
  }
  const entries = trimmed.split("\n").filter((line) => line.trim()).map((line) => {
    const at = line.indexOf(":");
    if (at < 1) throw new Error(`“${line.trim()}” has no name: write name: value, one a line.`);
    return [line.slice(0, at).trim(), readValue(line.slice(at + 1).trim())];
  });
  return Object.fromEntries(entries);
}

function readValue(text) {
  if (/^(true|false|null|-?\d+(\.\d+)?)$/.test(text)) return JSON.parse(text);
  return text;
}

/** The addresses of a text, one a line; empty lines and what begins with # are passed over. */
export function readAddresses(text) {
  return text.split(/\s*\n\s*/).map((line) => line.trim()).filter((line) => line && !line.startsWith("#"));
}

function Choices({ collection, setCollection, metadata, setMetadata }) {
  const { data: collections } = useAnswer("/v1/collections");
  return html`<div class="add-choices">
    <label class="field"><span>Collection</span>
      <input type="text" list="collections" autocomplete="off" value=${collection} maxlength="1000" onInput=${(event) => setCollection(event.currentTarget.value)} />
      <datalist id="collections">${(collections ?? []).map((each) => html`<option key=${each.collection} value=${each.collection}></option>`)}</datalist>
    </label>
    <label class="field"><span>Metadata for all of them</span>
      <textarea rows="1" spellcheck="false" placeholder="album: summer" value=${metadata} onInput=${(event) => setMetadata(event.currentTarget.value)}></textarea>
    </label>
  </div>`;
}

function DropZone({ onFiles }) {
  const [isOver, setOver] = useState(false);
  const files = useRef();
  const folder = useRef();
  const depth = useRef(0);
  useEffect(() => {
    folder.current.webkitdirectory = true; // it has no attribute in HTML's own
    const swallow = (event) => event.preventDefault(); // a drop that misses doesn't leave the page
    addEventListener("dragover", swallow);
    addEventListener("drop", swallow);
    return () => {
      removeEventListener("dragover", swallow);
      removeEventListener("drop", swallow);
    };
  }, []);
  const take = ({ files: found, leftOut }) => {
    if (leftOut) toast(`${countOf(leftOut, "file")} left out: not images.`);
    if (found.length) onFiles(found);
    else toast(leftOut ? "There is no image among them." : "Nothing was found there.", { tone: "danger" });
  };
  const drop = async (event) => {
    event.preventDefault();
    depth.current = 0;
    setOver(false);
    try {
      take(await readDrop(event.dataTransfer));
    } catch (error) {
      toast(`That can't be read: ${error.message}`, { tone: "danger" });
    }
  };
  const choose = (event) => {
    take(readField(event.currentTarget));
    event.currentTarget.value = "";
  };
  return html`<div
    class=${`drop-zone ${isOver ? "is-over" : ""}`} role="group" aria-label="Files and folders"
    onDragEnter=${() => { depth.current += 1; setOver(true); }} onDragLeave=${() => { depth.current -= 1; if (depth.current <= 0) setOver(false); }}
    onDragOver=${(event) => event.preventDefault()} onDrop=${drop}
  >
    <span class="drop-icon" aria-hidden="true"><${Icon} name="upload" size=${26} /></span>
    <p class="drop-title">${isOver ? "Let go to add them" : "Drop images or folders here"}</p>
    <p class="quiet">JPEG, PNG, WebP, HEIC, AVIF and others, as many as you like.</p>
    <div class="actions">
      <button type="button" class="button primary" onClick=${() => files.current.click()}><${Icon} name="image" size=${18} />Choose files</button>
      <button type="button" class="button" onClick=${() => folder.current.click()}><${Icon} name="folder" size=${18} />Choose a folder</button>
    </div>
    <input ref=${files} class="hidden-text" type="file" multiple accept="image/*,.heic,.heif,.avif,.jxl" tabindex="-1" aria-label="Image files" onChange=${choose} />
    <input ref=${folder} class="hidden-text" type="file" multiple tabindex="-1" aria-label="Folder of images" onChange=${choose} />
  </div>`;
}

function Addresses({ onAddresses, isBusy }) {
  const [text, setText] = useState("");
  const addresses = readAddresses(text);
  const submit = async (event) => {
    event.preventDefault();
    if (await onAddresses(addresses)) setText("");
  };
  return html`<details class="addresses">
    <summary>Or by their addresses on the web</summary>
    <form class="form" onSubmit=${submit}>
      <label class="field"><span>Addresses, one a line</span>
        <textarea rows="4" spellcheck="false" placeholder="https://example.org/photos/one.jpg" value=${text} onInput=${(event) => setText(event.currentTarget.value)}></textarea>
      </label>
      <div><button type="submit" class="button" disabled=${isBusy || !addresses.length}>${addresses.length ? `Add ${countOf(addresses.length, "address").replace("addresss", "addresses")}` : "Add them"}</button></div>
    </form>
  </details>`;
}

/** The upper part of the view. `onUpload` gets files and `{collection, metadata}`, `onQueued` an ingestion's id. */
export function Adding({ onUpload, onQueued }) {
  const [collection, setCollection] = useState("default");
  const [metadata, setMetadata] = useState("");
  const [problem, setProblem] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const given = () => {
    setProblem(null);
    try {
      return { collection: collection.trim() || "default", metadata: readMetadata(metadata) };
    } catch (error) {
      setProblem(error.message);
      return null;
    }
  };
  const addFiles = (files) => {
    const options = given();
    if (options) onUpload(files, options);
  };
  const addAddresses = async (urls) => {
    const options = given();
    if (!options) return false;
    setBusy(true);
    try {
      const answer = await ask("/v1/images", { json: { urls, ...options } });
      onQueued(answer.ingestion_id);
      return true;
    } catch (error) {
      setProblem(error.detail);
      return false;
    } finally {
      setBusy(false);
    }
  };
  return html`<section class="adding" aria-label="Add images">
    <${DropZone} onFiles=${addFiles} />
    <div class="adding-more">
      <${Choices} collection=${collection} setCollection=${setCollection} metadata=${metadata} setMetadata=${setMetadata} />
      ${problem && html`<p class="form-error" role="alert">${problem}</p>`}
      <${Addresses} onAddresses=${addAddresses} isBusy=${isBusy} />
    </div>
  </section>`;
}
