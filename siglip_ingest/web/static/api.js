// Requests to the web API: errors as it tells them, a key where one is needed, and whether the server answers at all.
import { useEffect, useState } from "./vendor/htm-preact.js";

const KEY = "siglip.key"; // in this tab only

/** What went wrong. `status` is 0 where the server didn't answer; `detail` is a sentence for people. */
export class ApiError extends Error {
  constructor(status, { detail, code, errors } = {}) {
    super(detail || (status ? `The server answered ${status}.` : "The server doesn't answer."));
    Object.assign(this, { status, detail: this.message, code: code ?? null, errors: errors ?? [] });
  }
}

/** A value that components follow. */
function makeSignal(value) {
  const listeners = new Set();
  return {
    get value() {
      return value;
    },
    set(next) {
      if (next === value) return;
      value = next;
      for (const listener of listeners) listener(next);
    },
    use() {
      const [shown, show] = useState(value);
      useEffect(() => {
        listeners.add(show);
        show(value);
        return () => listeners.delete(show);
      }, []);
      return shown;
    },
  };
}

export const connection = makeSignal("up"); // or "away"
export const recoveries = makeSignal(0); // grows whenever the server is back, or a key was given: then ask again
export const needsKey = makeSignal(false);
const allowedScope = makeSignal(null); // null where it isn't known

let key = readKey();

function readKey() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

/**
 * Use this key from now on, if the server knows it: whether it does.
 *
 * @throws {ApiError} where the server can't say
 */
export async function giveKey(given) {
  if (!/^[\x21-\x7e]+$/.test(given)) return false; // a header can't carry it, and no key is like that
  const session = await ask("/v1/session", { as: given }).catch((error) => {
    if (error.status === 401) return {};
    throw error;
  });
  if (!session.scope && session.needs_key !== false) return false;
  key = given;
  try {
    sessionStorage.setItem(KEY, key);
  } catch {
    // It is kept until the page is left.
  }
  needsKey.set(false);
  recoveries.set(recoveries.value + 1);
  return true;
}

const SCOPES = ["search", "write", "admin"]; // each allows what those before it do

/** Whether the asker may do what needs a scope, "write" or "admin"; true before that is known: the server refuses what it must. */
export function useMay(scope) {
  const allowed = allowedScope.use();
  return SCOPES.indexOf(allowed) < 0 || SCOPES.indexOf(allowed) >= SCOPES.indexOf(scope);
}

/** Learn what the asker may do. */
export async function learnScope() {
  try {
    allowedScope.set((await ask("/v1/session")).scope ?? null);
  } catch {
    // What isn't allowed is refused when it is asked for.
  }
}

/** Whether requests carry a key: then images are fetched by `fetch` too, since elements can't send one. */
export function hasKey() {
  return key !== null;
}

/** Headers that a request of one's own needs. */
export function keyHeaders() {
  return key === null ? {} : { Authorization: `Bearer ${key}` };
}

/**
 * Ask the API.
 *
 * @param {string} path such as "/v1/search"
 * @param {object} options `query` (object; null and undefined are left out), `json` or `form` (FormData) for a body,
 *   `signal` of an AbortController, `method`, `as` for another key than the one that was given
 * @returns the answer's JSON; null where it has none
 * @throws {ApiError} and the browser's AbortError, where `signal` was aborted
 */
export async function ask(path, options = {}) {
  const response = await open(path, options);
  if (response.status === 204) return null;
  return response.json();
}

/** The same, but the answer itself, for images and streams. */
export async function open(path, { method, query, json, form, signal, as = null } = {}) {
  const url = new URL(path, location.origin);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
  }
  const used = as ?? key;
  const headers = used === null ? {} : { Authorization: `Bearer ${used}` };
  if (json !== undefined) headers["Content-Type"] = "application/json";
  const body = json === undefined ? form : JSON.stringify(json);
  let response;
  try {
    response = await fetch(url, { method: method ?? (body ? "POST" : "GET"), headers, body, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    loseConnection();
    throw new ApiError(0);
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  if (response.status === 401 && used === key) needsKey.set(true); // another key may have been given meanwhile
  throw new ApiError(response.status, problem);
}

let attempts = 0;

function loseConnection() {
  if (connection.value === "away") return;
  connection.set("away");
  attempts = 0;
  setTimeout(tryAgain, 1000);
}

/** See whether the server is back; if not, try again later, at most 10 s. */
export async function tryAgain() {
  if (connection.value !== "away") return;
  try {
    await fetch("/healthz", { cache: "no-store" }); // whatever it answers, it is there
  } catch {
    attempts += 1;
    setTimeout(tryAgain, Math.min(1000 * 1.6 ** attempts, 10_000));
    return;
  }
  connection.set("up");
  recoveries.set(recoveries.value + 1);
}

/**
 * What a path answers, kept up to date: `{data, error, isLoading, reload}`.
 *
 * Asked again when `path` or the query changes (null asks nothing), when the server is back, and by `reload()`. What
 * was there stays until the new answer is.
 */
export function useAnswer(path, query = {}) {
  const [answer, setAnswer] = useState({ data: null, error: null, isLoading: path !== null });
  const [round, setRound] = useState(0);
  const recovery = recoveries.use();
  useEffect(() => {
    if (path === null) {
      setAnswer({ data: null, error: null, isLoading: false });
      return undefined;
    }
    const controller = new AbortController();
    setAnswer((before) => ({ ...before, isLoading: true }));
    ask(path, { query, signal: controller.signal }).then(
      (data) => setAnswer({ data, error: null, isLoading: false }),
      (error) => error.name !== "AbortError" && setAnswer((before) => ({ ...before, error, isLoading: false })),
    );
    return () => controller.abort();
  }, [path, JSON.stringify(query), round, recovery]);
  return { ...answer, reload: () => setRound((before) => before + 1) };
}
