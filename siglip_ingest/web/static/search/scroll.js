// Where the page is scrolled to: at its top for a new query, and where it was for one that we come back to.
import { savedScroll } from "../router.js";
import { useEffect, useRef } from "../vendor/htm-preact.js";

const MOST_PAGES = 20; // that are loaded to get back to where one was

/** Returns `onPlaced(height)`, for when results have their places. */
export function useScroll(place, listKey, hasMore, loadMore) {
  const wanted = useRef(null); // CSS pixels from the top; null once it is reached, or the user scrolls
  const shown = useRef(null);
  const pages = useRef(0);
  useEffect(() => {
    const forget = () => {
      wanted.current = null;
    };
    for (const name of ["wheel", "touchmove", "keydown", "pointerdown"]) addEventListener(name, forget, { passive: true });
    return () => {
      for (const name of ["wheel", "touchmove", "keydown", "pointerdown"]) removeEventListener(name, forget);
    };
  }, []);
  return () => {
    if (shown.current !== listKey) {
      wanted.current = place.isReturn ? savedScroll() : 0;
      if (shown.current === null && !place.isReturn) wanted.current = null; // the page has just been opened
      shown.current = listKey;
      pages.current = 0;
    }
    if (wanted.current === null) return;
    const most = document.documentElement.scrollHeight - innerHeight;
    if (wanted.current > most && hasMore && pages.current < MOST_PAGES) {
      pages.current += 1;
      loadMore();
      return;
    }
    scrollTo(0, Math.min(wanted.current, most));
    wanted.current = null;
  };
}
