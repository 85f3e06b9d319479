// What the view asks of the API about one label.
import { ask } from "../api.js";
import { useEffect, useRef, useState } from "../vendor/htm-preact.js";

export const STRIP = 12; // images on each side of a threshold

/** The path of a label set in the API, or of something below it. */
export function pathOfSet(set, ...more) {
  return ["/v1/labels", set, ...more].map((part, place) => (place ? encodeURIComponent(part) : part)).join("/");
}

/** The path of a label in the API, or of something below it. */
export function pathOfLabel({ set, label }, ...more) {
  return pathOfSet(set, "labels", label, ...more);
}

const NOTHING = { at: null, within: [], without: [], above: null, error: null };

/**
 * What a threshold decides, while it is dragged: the images nearest to it on both sides, and how many reach it.
 *
 * One question is on its way at a time: the next one is about the threshold as it is by then, so that an answer never
 * comes too late for a newer one. `{at, within, without, above, error}` say which threshold they are of.
 */
export function useBorder(chosen, threshold, collection, version) {
  const [border, setBorder] = useState(NOTHING);
  const wanted = useRef(null);
  const running = useRef(null);
  const subject = `${JSON.stringify(chosen)} ${collection ?? ""} ${version}`;

  useEffect(() => {
    if (threshold === null) return;
    wanted.current = { subject, threshold };
    const run = async () => {
      const controller = new AbortController();
      running.current = { subject, controller };
      const { signal } = controller;
      try {
        while (wanted.current?.subject === subject) {
          const at = wanted.current.threshold;
          wanted.current = null;
          const near = { near: at, collection, limit: STRIP };
          const [within, without, counted] = await Promise.all([
            ask(pathOfLabel(chosen, "images"), { query: { ...near, min_score: at }, signal }),
            ask(pathOfLabel(chosen, "images"), { query: { ...near, max_score: at }, signal }),
            ask(pathOfLabel(chosen, "histogram"), { query: { bins: 2, at, collection }, signal }),
          ]);
          if (running.current?.controller !== controller) return;
          setBorder({
            subject, at, error: null, above: counted.above,
            within: within.matches,
            without: without.matches.filter((match) => match.score < at),
          });
        }
      } catch (error) {
        if (error.name !== "AbortError" && running.current?.controller === controller) setBorder((before) => ({ ...before, error }));
      }
      if (running.current?.controller === controller) running.current = null;
    };
    if (running.current?.subject === subject) return; // it goes on with this one by itself
    running.current?.controller.abort();
    run();
  }, [subject, threshold]);

  useEffect(() => () => {
    wanted.current = null;
    running.current?.controller.abort();
    running.current = null;
  }, []);
  return border.subject?.startsWith(`${JSON.stringify(chosen)} ${collection ?? ""} `) ? border : NOTHING;
}
