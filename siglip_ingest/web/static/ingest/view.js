// The view /ingest: images to be added, how far they are, and what was added before.
import { useAnswer, useMay } from "../api.js";
import { formatAgo, formatBytes, formatMoment } from "../format.js";
import { followLink, navigate } from "../router.js";
import { ErrorNotice, Icon, countOf, formatCount } from "../ui.js";
import { html, useEffect, useRef, useState } from "../vendor/htm-preact.js";
import { Adding } from "./adding.js";
import { Failures } from "./failures.js";
import { CountsBar, describeCounts, useIngestion } from "./progress.js";
import { Upload } from "./upload.js";

const LOOK_AGAIN_S = 3;
const NONE = { queued: 0, claimed: 0, done: 0, failed: 0 };

function Refused({ refused }) {
  if (!refused.length) return null;
  return html`<details class="refused" open>
    <summary>${countOf(refused.length, "file")} not taken</summary>
    <ul>${refused.map((each, place) => html`<li key=${place}><span class="failure-name">${each.name}</span><span class="failure-reason">${each.reason}</span></li>`)}</ul>
  </details>`;
}

function describeUpload({ total, sent, bytes, sentBytes, phase, waiting, queued, refused }) {
  if (phase === "cancelled") return `Stopped. ${formatCount(sent)} of ${countOf(total, "file")} had been sent.`;
  if (waiting) return `Trying again: ${waiting}`;
  if (phase === "sending") return `Sending: ${formatCount(sent)} of ${countOf(total, "file")}, ${formatBytes(sentBytes)} of ${formatBytes(bytes)}`;
  const same = queued === null ? 0 : total - refused.length - queued; // of the same bytes a collection has one image
  return `${countOf(total, "file")} sent, ${formatBytes(bytes)}${same > 0 ? `; ${formatCount(same)} ${same === 1 ? "was" : "were"} the same as others` : ""}`;
}

/** What is being added now: sent, queued and embedded. */
function Current({ upload, id, onCancel, onClose, onEnd }) {
  const [round, setRound] = useState(0);
  const { ingestion, perSecond, error } = useIngestion(id, round);
  const isSending = upload?.phase === "sending";
  const isFinished = Boolean(ingestion?.is_finished) && !isSending;
  const counts = ingestion?.counts ?? NONE;
  useEffect(() => { // what is sent later joins it: it isn't over before that
    if (ingestion?.is_finished && isSending) {
      const timer = setTimeout(() => setRound((before) => before + 1), 700);
      return () => clearTimeout(timer);
    }
    return undefined;
  }, [ingestion, isSending]);
  useEffect(() => {
    if (upload?.phase === "sent" || upload?.phase === "cancelled") setRound((before) => before + 1);
  }, [upload?.phase]);
  useEffect(() => {
    if (isFinished) onEnd();
  }, [isFinished]);
  const expected = upload && upload.phase !== "cancelled" ? upload.total - upload.refused.length : 0;
  const hasEnded = isFinished || (id === null && !isSending);
  return html`<section class="card upload-now" aria-label="What is being added">
    <header class="upload-head">
      <h2>${hasEnded ? (upload?.phase === "cancelled" ? "Stopped" : "Done") : "Adding images"}</h2>
      ${isSending
        ? html`<button type="button" class="button small" onClick=${onCancel}>Stop sending</button>`
        : hasEnded && html`<button type="button" class="button small" onClick=${onClose}>Close</button>`}
    </header>
    <${CountsBar} counts=${counts} expected=${expected} label="Progress" />
    <div class="upload-words" role="status">
      ${upload && html`<p class=${upload.waiting ? "waiting-words" : "quiet"}>${describeUpload(upload)}</p>`}
      ${ingestion && html`<p class="numbers">${describeCounts(ingestion, perSecond)}</p>`}
      ${!ingestion && id === null && !isSending && html`<p>Nothing was queued.</p>`}
    </div>
    ${error && html`<p class="form-error" role="alert">${error.detail}</p>`}
    ${upload && html`<${Refused} refused=${upload.refused} />`}
    ${hasEnded && html`<${Failures} key=${`${id} ${counts.failed} ${round}`} id=${id} failed=${counts.failed} onRetry=${() => setRound((before) => before + 1)} />`}
    ${isFinished && counts.done > 0 && html`<p><a href=${ingestion.collection ? `/?${new URLSearchParams({ collection: ingestion.collection })}` : "/"} onClick=${followLink}>Look at them</a></p>`}
  </section>`;
}

function Detail({ id, onChange }) {
  const [round, setRound] = useState(0);
  const { ingestion, perSecond, error } = useIngestion(id, round);
  const last = useRef(null);
  useEffect(() => {
    if (!ingestion) return;
    if (last.current === false && ingestion.is_finished) onChange();
    last.current = ingestion.is_finished;
  }, [ingestion]);
  if (error && !ingestion) return html`<p class="form-error" role="alert">${error.detail}</p>`;
  if (!ingestion) return html`<p class="quiet" aria-busy="true">Looking ...</p>`;
  const { counts } = ingestion;
  return html`<div class="detail">
    <p class="quiet">${formatMoment(ingestion.created_at)}, under ${ingestion.model}</p>
    <p class="numbers" role="status">${describeCounts(ingestion, perSecond)}</p>
    <${Failures} key=${`${counts.failed} ${round}`} id=${id} failed=${counts.failed} onRetry=${() => { setRound((before) => before + 1); onChange(); }} />
    ${!counts.failed && ingestion.is_finished && html`<p class="quiet">Every image is embedded.</p>`}
  </div>`;
}

function Row({ ingestion, isOpen, onChange }) {
  const { ingestion_id: id, counts, collection, is_finished: isFinished, created_at: created } = ingestion;
  const total = counts.queued + counts.claimed + counts.done + counts.failed;
  const toggle = (event) => {
    event.preventDefault();
    navigate(isOpen ? "/ingest" : `/ingest?ingestion=${id}`, { replace: true });
  };
  return html`<li class=${`ingestion ${isOpen ? "is-open" : ""}`} id=${`ingestion-${id}`}>
    <a class="ingestion-head" href=${`/ingest?ingestion=${id}`} aria-expanded=${isOpen} role="button" onClick=${toggle} onKeyDown=${(event) => event.key === " " && toggle(event)}>
      <span class="ingestion-chevron" aria-hidden="true"><${Icon} name="right" size=${16} /></span>
      <span class="ingestion-name">${countOf(total, "image")} <span class="quiet">in ${collection ?? "several collections"}</span></span>
      ${counts.failed > 0 && html`<span class="badge danger">${formatCount(counts.failed)} failed</span>`}
      ${isFinished ? !counts.failed && html`<span class="badge good">done</span>` : html`<span class="badge accent">${Math.floor((100 * (counts.done + counts.failed)) / Math.max(total, 1))} %</span>`}
      <time class="quiet" datetime=${created} title=${formatMoment(created)}>${formatAgo(created)}</time>
    </a>
    ${!isFinished && html`<${CountsBar} counts=${counts} label=${`Progress of ingestion ${id}`} />`}
    ${isOpen && html`<${Detail} id=${id} onChange=${onChange} />`}
  </li>`;
}

export function IngestView({ place }) {
  const { data: ingestions, error, reload } = useAnswer("/v1/ingestions", { limit: 20 });
  const [upload, setUpload] = useState(null);
  const [queuedId, setQueuedId] = useState(null);
  const running = useRef(null);
  const mayAdd = useMay("write");
  const openId = Number(place.query.get("ingestion")) || null;
  const currentId = upload ? (upload.ingestions.at(-1) ?? null) : queuedId;

  useEffect(() => {
    if (!ingestions?.some((each) => !each.is_finished)) return undefined;
    const timer = setTimeout(reload, 1000 * LOOK_AGAIN_S);
    return () => clearTimeout(timer);
  }, [ingestions]);
  useEffect(() => { // so that the address is that of what is added now, also later
    if (currentId !== null && currentId !== openId) navigate(`/ingest?ingestion=${currentId}`, { replace: true });
  }, [currentId]);
  useEffect(() => {
    const warn = (event) => running.current && event.preventDefault();
    addEventListener("beforeunload", warn);
    return () => {
      removeEventListener("beforeunload", warn);
      running.current?.cancel();
    };
  }, []);

  const begin = async (files, options) => {
    running.current?.cancel();
    const made = new Upload(files, { ...options, onChange: (state) => running.current === made && setUpload(state) });
    running.current = made;
    setQueuedId(null);
    await made.run();
    if (running.current === made) running.current = null;
    reload();
  };
  const cancel = () => {
    running.current?.cancel();
    running.current = null;
  };
  const isOpenListed = openId === null || openId === currentId || !ingestions || ingestions.some((each) => each.ingestion_id === openId);
  const others = (ingestions ?? []).filter((each) => each.ingestion_id !== currentId);
  return html`<main id="main" class="page ingest-page">
    <h1 class="hidden-text">Ingest</h1>
    ${mayAdd
      ? html`<${Adding} onUpload=${begin} onQueued=${(id) => { setUpload(null); setQueuedId(id); reload(); }} />`
      : html`<p class="quiet">Your key is for searching only: another one is needed to add images.</p>`}
    ${(upload || queuedId !== null) && html`<${Current} key=${upload?.began ?? queuedId} upload=${upload} id=${currentId} onCancel=${cancel} onEnd=${reload} onClose=${() => { setUpload(null); setQueuedId(null); reload(); }} />`}
    <section class="ingestions" aria-labelledby="ingestions-title">
      <h2 id="ingestions-title">Added before</h2>
      ${error && !ingestions && html`<${ErrorNotice} error=${error} onRetry=${reload} />`}
      ${!isOpenListed && html`<div class="ingestion is-open"><h3>Ingestion ${openId}</h3><${Detail} key=${openId} id=${openId} onChange=${reload} /></div>`}
      ${ingestions && !others.length && isOpenListed && html`<p class="quiet">Nothing yet. What you add is listed here for 30 days, with what failed and why.</p>`}
      <ul>${others.map((each) => html`<${Row} key=${each.ingestion_id} ingestion=${each} isOpen=${each.ingestion_id === openId} onChange=${reload} />`)}</ul>
    </section>
  </main>`;
}
