// Sends files in a few requests at a time, again where that may help, until all are queued or refused.
import { ApiError, ask } from "../api.js";

const FILES = 24; // of a request
const BYTES = 20e6;
const AT_ONCE = 2;
const ATTEMPTS = 6;
const PAUSES_S = [1, 2, 4, 8, 15];
const WORTH_ANOTHER = new Set([0, 408, 429, 500, 502, 503, 504]);

/** Batches of a few files or about 20 MB; a larger file goes alone. */
export function cutBatches(files) {
  const batches = [];
  let batch = [];
  let bytes = 0;
  for (const each of files) {
    if (batch.length && (batch.length >= FILES || bytes + each.file.size > BYTES)) {
      batches.push(batch);
      batch = [];
      bytes = 0;
    }
    batch.push(each);
    bytes += each.file.size;
  }
  if (batch.length) batches.push(batch);
  return batches;
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}

/**
 * An upload of many files, which join one ingestion.
 *
 * `state` is `{total, bytes, sent, sentBytes, refused: [{name, reason}], ingestions, phase, waiting}`; phase is
 * "sending", "sent" or "cancelled"; `queued` is how many images the files are, as the server counts them, or null where
 * that isn't known; and `waiting` the error after which it tries again, if any. `onChange` is called with it.
 */
export class Upload {
  constructor(files, { collection, metadata, onChange }) {
    this.options = { collection, metadata };
    this.onChange = onChange;
    this.batches = cutBatches(files);
    this.controller = new AbortController();
    this.state = {
      total: files.length, bytes: files.reduce((sum, each) => sum + each.file.size, 0), sent: 0, sentBytes: 0,
      refused: [], ingestions: [], queued: 0, phase: "sending", waiting: null, began: Date.now(),
    };
  }

  change(changes) {
    this.state = { ...this.state, ...changes };
    this.onChange(this.state);
  }

  cancel() {
    this.controller.abort();
    this.change({ phase: "cancelled", waiting: null });
  }

  /** Send everything; resolves when that has ended, however. */
  async run() {
    this.onChange(this.state);
    const lane = async () => {
      while (this.batches.length && this.state.phase === "sending") await this.send(this.batches.shift());
    };
    try {
      await lane0(this, lane);
      if (this.state.phase === "sending") this.change({ phase: "sent", waiting: null });
    } catch (error) {
      if (this.state.phase !== "cancelled") throw error;
    }
  }

  async send(batch) {
    for (let attempt = 0; ; attempt += 1) {
      try {
        const answer = await this.post(batch);
        const bytes = batch.reduce((sum, each) => sum + each.file.size, 0);
        const { ingestions, queued } = this.state;
        const counted = Object.values(answer.counts).reduce((sum, count) => sum + count, 0); // of the whole ingestion
        const isNew = answer.ingestion_id !== null && !ingestions.includes(answer.ingestion_id);
        this.change({
          sent: this.state.sent + batch.length, sentBytes: this.state.sentBytes + bytes, waiting: null,
          refused: [...this.state.refused, ...answer.refused], ingestions: isNew ? [...ingestions, answer.ingestion_id] : ingestions,
          queued: queued === null || (isNew && ingestions.length) ? null : Math.max(queued, counted), // answers may overtake each other
        });
        return;
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        if (error.status === 404 && this.state.ingestions.length) this.change({ ingestions: [], queued: null }); // a new one then
        else if (error.status === 413 && batch.length > 1) {
          for (const each of batch) await this.send([each]);
          return;
        } else if (!WORTH_ANOTHER.has(error.status) || attempt + 1 >= ATTEMPTS) {
          this.refuse(batch, error.detail);
          return;
        } else {
          this.change({ waiting: error.detail });
          await pause(PAUSES_S[attempt], this.controller.signal);
        }
      }
    }
  }

  post(batch) {
    const form = new FormData();
    for (const { file, name } of batch) form.append("files", file, name);
    form.append("collection", this.options.collection);
    form.append("metadata", JSON.stringify(this.options.metadata));
    const last = this.state.ingestions.at(-1);
    if (last !== undefined) form.append("ingestion_id", String(last));
    return ask("/v1/images/files", { form, signal: this.controller.signal });
  }

  refuse(batch, reason) {
    const refused = batch.map(({ name }) => ({ name, reason }));
    this.change({ sent: this.state.sent + batch.length, refused: [...this.state.refused, ...refused], waiting: null });
  }
}

/** The first batch alone, so that the others can join its ingestion; then a few at once. */
async function lane0(upload, lane) {
  while (upload.batches.length && !upload.state.ingestions.length && upload.state.phase === "sending") {
    await upload.send(upload.batches.shift());
  }
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}
