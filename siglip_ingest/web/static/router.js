// The address is the state: what is shown is in its path and query, so that every state has a link.
import { useEffect, useState } from "./vendor/htm-preact.js";

history.scrollRestoration = "manual"; // the views do it, once what was there is there again
const listeners = new Set();
let isReturn = performance.getEntriesByType("navigation")[0]?.type !== "navigate"; // by back, forward or reload
let entry = history.state?.entry ?? newEntry();
history.replaceState({ ...history.state, entry }, "");

function newEntry() {
  return `${Date.now().toString(36)}${Math.random().toString(36).slice(2, 8)}`;
}

function rememberScroll() {
  try {
    sessionStorage.setItem(`siglip.scroll.${entry}`, String(Math.round(scrollY)));
  } catch {
    // Without storage a page begins at its top.
  }
}

let isScrollTimed = false;
addEventListener("scroll", () => {
  if (isScrollTimed) return;
  isScrollTimed = true;
  const scrolled = entry;
  setTimeout(() => {
    isScrollTimed = false;
    if (scrolled === entry) rememberScroll();
  }, 120);
}, { passive: true });
addEventListener("pagehide", rememberScroll);

let arrival = readScroll(); // before what is shown now could change it

/** How far down the page was, in pixels, when this entry of the history was left; 0 where it is new. */
export function savedScroll() {
  return arrival;
}

function readScroll() {
  try {
    return Number(sessionStorage.getItem(`siglip.scroll.${entry}`) ?? 0);
  } catch {
    return 0;
  }
}

/** Where we are: the path of the view, its query, and whether we came back to an entry of the history. */
export function currentPlace() {
  return { path: location.pathname, query: new URLSearchParams(location.search), entry, isReturn, state: history.state ?? {} };
}

function announce() {
  const place = currentPlace();
  for (const listener of listeners) listener(place);
}

/**
 * Go to an address of this page.
 *
 * `replace` changes the current entry of the history, for states that "back" shouldn't return to (a text while it is
 * typed). `state` is kept with the entry.
 */
export function navigate(to, { replace = false, state = {} } = {}) {
  const url = new URL(to, location.href);
  if (!replace) {
    rememberScroll();
    entry = newEntry();
    arrival = 0;
  }
  isReturn = false;
  history[replace ? "replaceState" : "pushState"]({ ...state, entry }, "", url);
  announce();
}

addEventListener("popstate", (event) => {
  entry = event.state?.entry ?? newEntry();
  isReturn = true;
  arrival = readScroll();
  announce();
});

/** The current place, always up to date. */
export function usePlace() {
  const [place, setPlace] = useState(currentPlace);
  useEffect(() => {
    listeners.add(setPlace);
    setPlace((shown) => (shown.entry === entry && String(shown.query) === location.search.slice(1) ? shown : currentPlace()));
    return () => listeners.delete(setPlace);
  }, []);
  return place;
}

/** For `onClick` of links: go there without loading the page, unless the browser is asked for a tab of its own. */
export function followLink(event) {
  const isPlain = event.button === 0 && !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey);
  const link = event.currentTarget;
  if (event.defaultPrevented || !isPlain || link.origin !== location.origin || link.target) return;
  event.preventDefault();
  navigate(link.href);
  scrollTo(0, 0);
}
