// How far an ingestion is, as it goes: by server-sent events, or by asking where these can't carry a key.
import { ask, hasKey, recoveries } from "../api.js";
import { formatDuration, formatRate } from "../format.js";
import { countOf, formatCount } from "../ui.js";
import { html, useEffect, useRef, useState } from "../vendor/htm-preact.js";

const POLL_S = 1;
const WINDOW_S = 12; // of the rate

/** Follow an ingestion; `onState` is called with it whenever it changes. Returns what ends that. */
function follow(id, onState, onError) {
  if (hasKey() || !window.EventSource) {
    const controller = new AbortController();
    let timer;
    const look = async () => {
      try {
        const state = await ask(`/v1/ingestions/${id}`, { signal: controller.signal });
        onState(state);
        if (state.is_finished) return;
      } catch (error) {
        if (error.name === "AbortError") return;
        onError(error);
        if (error.status === 404) return;
      }
      timer = setTimeout(look, 1000 * POLL_S);
    };
    look();
    return () => {
      controller.abort();
      clearTimeout(timer);
    };
  }
  const source = new EventSource(`/v1/ingestions/${id}/events`);
  source.addEventListener("progress", (event) => onState(JSON.parse(event.data)));
  source.addEventListener("done", (event) => {
    source.close(); // else the browser asks again
    onState(JSON.parse(event.data));
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) ask(`/v1/ingestions/${id}`).then(onState, onError); // it says what is wrong
  });
  return () => source.close();
}

/** An ingestion as it goes, and its rate in images per second: `{ingestion, perSecond, error}`. */
export function useIngestion(id, round = 0) {
  const [state, setState] = useState({ ingestion: null, perSecond: null, error: null });
  const samples = useRef([]);
  const recovery = recoveries.use();
  useEffect(() => {
    samples.current = [];
    if (id === null) return undefined;
    return follow(id, (ingestion) => {
      const ended = ingestion.counts.done + ingestion.counts.failed;
      const now = performance.now() / 1000;
      const recent = samples.current.filter((sample) => now - sample.at < WINDOW_S);
      samples.current = [...recent, { at: now, ended }];
      const [first] = samples.current;
      const perSecond = now - first.at > 0.5 ? (ended - first.ended) / (now - first.at) : null;
      setState((before) => ({ ingestion, error: null, perSecond: perSecond ?? before.perSecond }));
    }, (error) => setState((before) => ({ ...before, error })));
  }, [id, round, recovery]);
  return state.ingestion && state.ingestion.ingestion_id !== id ? { ingestion: null, perSecond: null, error: null } : state;
}

/** A bar of counts: what is embedded, what has failed, and what is still to come. `expected` images are on their way. */
export function CountsBar({ counts, expected = 0, label }) {
  const all = Math.max(counts.queued + counts.claimed + counts.done + counts.failed, expected, 1);
  const ended = counts.done + counts.failed;
  const share = (count) => ({ width: `${(100 * count) / all}%` });
  return html`<div class="bar" role="progressbar" aria-label=${label} aria-valuemin="0" aria-valuemax=${all} aria-valuenow=${ended} aria-valuetext=${`${formatCount(ended)} of ${countOf(all, "image")}`}>
    <span class="done" style=${share(counts.done)}></span><span class="failed" style=${share(counts.failed)}></span><span class="waiting" style=${share(counts.queued + counts.claimed)}></span>
  </div>`;
}

/** Counts in words: "120 embedded, 3 failed, 40 to go, 12.3 images/s, 4 s left". */
export function describeCounts({ counts, is_finished: isFinished }, perSecond) {
  const left = counts.queued + counts.claimed;
  const parts = [`${formatCount(counts.done)} embedded`];
  if (counts.failed) parts.push(`${formatCount(counts.failed)} failed`);
  if (left) parts.push(`${formatCount(left)} to go`);
  if (!isFinished && perSecond > 0) {
    parts.push(`${formatRate(perSecond)} images/s`);
    if (left) parts.push(`${formatDuration(left / perSecond)} left`);
  }
  return parts.join(", ");
}
