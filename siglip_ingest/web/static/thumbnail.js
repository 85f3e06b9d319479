// Images by their path in the API: faded in when they are decoded, with a reason where they can't be shown.
import { ApiError, hasKey, open } from "./api.js";
import { html, useEffect, useState } from "./vendor/htm-preact.js";

const SIZES = [160, 320, 640, 1280];

function withoutSize(path) {
  return path.replace(/[?&]size=\d+$/, "");
}

/** The path of a thumbnail whose longer side has at least so many CSS pixels, on this screen. */
export function thumbnailOf(match, longerSide) {
  const wanted = longerSide * Math.min(window.devicePixelRatio || 1, 2) * 0.9; // a little softer, and half as many bytes
  return `${match.thumbnail}&size=${SIZES.find((size) => size >= wanted) ?? 1280}`;
}

const failures = new Map(); // paths that give no image, and why: they aren't asked for again before the page is left

/** Why there is no image, whatever its size; kept where asking again wouldn't help. */
function explain(path, error) {
  const reason = error instanceof ApiError ? error.detail : String(error);
  if (error.status === 404 || error.status === 422) failures.set(withoutSize(path), reason);
  return reason;
}

/** What `src` an image has: its path, or where requests carry a key, what `fetch` got; and why there is none. */
function useSource(path) {
  const known = failures.get(withoutSize(path)) ?? null;
  const [source, setSource] = useState(hasKey() || known ? null : path);
  const [reason, setReason] = useState(known);
  useEffect(() => {
    setReason(known);
    if (known) return undefined;
    if (!hasKey()) {
      setSource(path);
      return undefined;
    }
    const controller = new AbortController();
    let made = null;
    open(path, { signal: controller.signal })
      .then((response) => response.blob())
      .then((blob) => {
        made = URL.createObjectURL(blob);
        setSource(made);
      })
      .catch((error) => error.name !== "AbortError" && setReason(explain(path, error)));
    return () => {
      controller.abort();
      if (made) URL.revokeObjectURL(made);
    };
  }, [path]);
  const fail = async () => {
    try {
      const again = await open(path); // an element doesn't tell why
      if (again.ok) setReason("The browser can't show this image.");
    } catch (error) {
      setReason(explain(path, error));
    }
  };
  return { source, reason, fail };
}

/** An image of the API. `alt` is "" where its name stands beside it; `isOptional` says no reason where there is none. */
export function Thumbnail({ path, alt = "", class: more = "", isOptional = false, ...others }) {
  const { source, reason, fail } = useSource(path);
  const [shown, setShown] = useState(null);
  if (reason && isOptional) return null;
  if (reason) {
    return html`<span class=${`unshown ${more}`} role="img" aria-label=${`${alt ? `${alt}: ` : ""}can't be shown`}>
      <span class="unshown-text">${reason}</span>
    </span>`;
  }
  if (!source) return html`<span class=${`thumbnail ${more}`}></span>`; // an empty src would be an error
  return html`<img
    class=${`thumbnail ${shown === source ? "is-there" : ""} ${more}`} src=${source} alt=${alt} decoding="async" draggable=${false}
    onLoad=${() => setShown(source)} onError=${fail} ...${others}
  />`;
}
