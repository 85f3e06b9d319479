// The metadata that results had: keys, their values, and how often each was there.
import { useRef } from "../vendor/htm-preact.js";

const MOST_VALUES = 200;

function isPlain(value) {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean";
}

/** A Map of keys to Maps of values to counts; it grows while the view is there, so that a filter can be changed. */
export function useSeen(matches) {
  const seen = useRef(new Map());
  const counted = useRef(new Set());
  for (const { image_id: id, metadata } of matches) {
    if (counted.current.has(id)) continue;
    counted.current.add(id);
    for (const [key, value] of Object.entries(metadata)) {
      if (!isPlain(value)) continue;
      if (!seen.current.has(key)) seen.current.set(key, new Map());
      const values = seen.current.get(key);
      if (values.has(value) || values.size < MOST_VALUES) values.set(value, (values.get(value) ?? 0) + 1);
    }
  }
  return seen.current;
}
