// The results of a search: asked for as the request changes, page by page, without showing an answer that came too late.
import { ask, recoveries } from "../api.js";
import { useEffect, useMemo, useRef, useState } from "../vendor/htm-preact.js";

const PAGE = 60;
const KEPT = 12; // lists of results that "back" shows at once
const RETRY_S = [2, 4, 8];
const NOTHING = { key: null, matches: [], cursor: null, total: null, failed: null, tookMs: null };
const REFUSED = new Set([400, 404, 422]); // asking again wouldn't help, and what was shown before belongs to another query
const kept = new Map();

function keep(list) {
  kept.delete(list.key);
  kept.set(list.key, list);
  if (kept.size > KEPT) kept.delete(kept.keys().next().value);
}

/** Forget what is kept: images were changed or deleted. */
export function forgetResults() {
  kept.clear();
}

/**
 * What a request finds, or null, which finds nothing: `{list, matches, error, isPending, hasMore, loadMore, change, unfold}`.
 *
 * `list.key` tells which request the results belong to: those of the one before stay until the new ones are there, or
 * until the server says that the request asks for something that it can't find.
 */
export function useResults(request, isReturn) {
  const key = useMemo(() => JSON.stringify(request), [request]);
  const [list, setList] = useState(() => (isReturn && kept.get(key)) || NOTHING);
  const [error, setError] = useState(null);
  const [isPending, setPending] = useState(list === NOTHING);
  const [round, setRound] = useState(0);
  const [unfolded, setUnfolded] = useState(() => new Map());
  const recovery = recoveries.use();
  const more = useRef(null); // the controller of the page that is on its way
  const attempts = useRef(0);
  const isPageMissing = useRef(false); // it was a further page that failed, not the first
  const current = useRef(list);
  current.current = list;

  const show = (next) => {
    keep(next);
    current.current = next;
    setList(next);
  };

  const showNothing = (of) => {
    current.current = { ...NOTHING, key: of };
    setList(current.current);
  };

  useEffect(() => {
    more.current?.abort();
    more.current = null;
    if (request === null) {
      setUnfolded(new Map());
      setError(null);
      setPending(false);
      showNothing(key);
      return undefined;
    }
    const known = isReturn && round === 0 ? kept.get(key) : null;
    if (known && !error) {
      setUnfolded(new Map());
      setError(null);
      setPending(false);
      show(known);
      return undefined;
    }
    const controller = new AbortController();
    let timer;
    setPending(true);
    ask("/v1/search", { json: { ...request, limit: PAGE }, signal: controller.signal }).then(
      (page) => {
        attempts.current = 0;
        isPageMissing.current = false;
        setUnfolded(new Map());
        setError(null);
        setPending(false);
        show({ key, matches: page.matches, cursor: page.next_cursor, total: page.total, failed: page.failed ?? null, tookMs: page.took_ms });
      },
      (failure) => {
        if (failure.name === "AbortError") return;
        isPageMissing.current = false;
        setPending(false);
        setError(failure);
        if (REFUSED.has(failure.status) && current.current.key !== key) {
          setUnfolded(new Map());
          showNothing(`${key} refused`);
        }
        if (failure.status === 503 && attempts.current < RETRY_S.length) {
          timer = setTimeout(() => setRound((before) => before + 1), 1000 * RETRY_S[attempts.current]);
          attempts.current += 1;
        }
      },
    );
    return () => {
      controller.abort();
      clearTimeout(timer);
    };
  }, [key, round, recovery]);

  const loadMore = async () => {
    const shown = current.current;
    if (more.current || shown.cursor === null || shown.key !== key) return;
    const controller = new AbortController();
    more.current = controller;
    try {
      const page = await ask("/v1/search", {
        json: { ...request, limit: PAGE, cursor: shown.cursor },
        signal: controller.signal,
      });
      if (more.current !== controller) return;
      const now = current.current; // images may have been changed meanwhile
      const there = new Set(now.matches.map((match) => match.image_id));
      const added = page.matches.filter((match) => !there.has(match.image_id));
      show({ ...now, matches: [...now.matches, ...added], cursor: page.next_cursor, total: page.total ?? now.total });
    } catch (failure) {
      if (failure.name === "AbortError") return;
      isPageMissing.current = true;
      setError(failure);
    } finally {
      if (more.current === controller) more.current = null;
    }
  };

  /**
   * Change the matches that are shown: `edit` gives another match, or null for none.
   *
   * Where near-duplicates are folded and some are gone, the server says again which one stands for the others.
   */
  const change = (edit) => {
    forgetResults();
    const edited = current.current.matches.map(edit).filter(Boolean);
    const gone = current.current.matches.length - edited.length;
    const total = current.current.total;
    show({ ...current.current, matches: edited, total: total === null ? null : Math.max(total - gone, edited.length) });
    const below = [...unfolded].map(([id, each]) => [id, each.map(edit).filter(Boolean)]);
    const isAnyGone = gone > 0 || below.some(([id, each]) => each.length < unfolded.get(id).length);
    setUnfolded(new Map(below));
    if (request.fold_duplicates && isAnyGone) {
      setPending(true);
      setRound((before) => before + 1);
    }
  };

  /** Show the near-duplicates that are folded below a match behind it, or fold them again. */
  const unfold = async (match) => {
    if (unfolded.has(match.image_id)) {
      setUnfolded((before) => new Map([...before].filter(([id]) => id !== match.image_id)));
      return;
    }
    const { fold_duplicates: _, min_score: __, ...rest } = request;
    const page = await ask("/v1/search", { json: { ...rest, image_ids: match.duplicates.slice(0, 200), limit: 200 } });
    setUnfolded((before) => new Map([...before, [match.image_id, page.matches]]));
  };

  const matches = useMemo(() => {
    if (!unfolded.size) return list.matches;
    return list.matches.flatMap((match) => {
      const below = unfolded.get(match.image_id);
      if (!below) return [match];
      return [{ ...match, isUnfolded: true }, ...below.map((each) => ({ ...each, foldedBelow: match.image_id }))];
    });
  }, [list.matches, unfolded]);

  return {
    list, matches, error, loadMore, change, unfold,
    isPending: isPending || (!error && list.key !== key), // also before it is asked for
    hasMore: list.cursor !== null,
    again: () => {
      attempts.current = 0;
      setError(null);
      if (isPageMissing.current) loadMore();
      else setRound((before) => before + 1);
    },
  };
}
