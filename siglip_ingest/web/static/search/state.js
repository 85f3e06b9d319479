// What the search view shows, as the query of its address says it, and as the API is asked for it.
//
// state: {text, parts: [{kind: "text" | "image" | "upload", value, weight}], collection, filter, labels: [{label_set,
// label, min_score}], minScore, sort, isFolded, image}. A part's value is words, an image's id or an upload's.

export const EMPTY = {
  text: "", parts: [], collection: null, filter: {}, labels: [], minScore: 0, sort: "relevance", isFolded: false, image: null,
};
export const MAX_WEIGHT = 3; // the API takes more; nobody needs it
const SORTS = ["relevance", "newest", "oldest"];

/** Weights go in tenths, and 0 isn't one. */
export function roundWeight(weight, before = 1) {
  const rounded = Math.round(Math.min(Math.max(weight, -MAX_WEIGHT), MAX_WEIGHT) * 10) / 10;
  return rounded === 0 ? (before > 0 ? -0.1 : 0.1) : rounded;
}

function readPart(written) {
  const found = /^(?:(-?\d+(?:\.\d+)?)\*)?(text|image|upload):(.+)$/s.exec(written);
  if (!found) return null;
  const [, weight, kind, value] = found;
  if (kind === "image" && !/^[1-9]\d{0,17}$/.test(value)) return null;
  if (kind === "upload" && !/^[0-9a-f]{64}$/.test(value)) return null;
  return { kind, value: kind === "image" ? Number(value) : value, weight: roundWeight(Number(weight ?? 1)) };
}

function readLabel(written) {
  const [set, label, score] = written.split(":").map((each) => {
    try {
      return decodeURIComponent(each);
    } catch {
      return each;
    }
  });
  if (!set || !label) return null;
  const least = Number(score);
  return { label_set: set, label, min_score: score && least >= 0 && least <= 1 ? least : null };
}

function readFilter(written) {
  try {
    const found = JSON.parse(written ?? "{}");
    return found && typeof found === "object" && !Array.isArray(found) ? found : {};
  } catch {
    return {};
  }
}

/** Read the query of an address; what makes no sense is passed over. */
export function readState(query) {
  const minScore = Number(query.get("min"));
  const image = query.get("image");
  return {
    text: query.get("q") ?? "",
    parts: query.getAll("part").map(readPart).filter(Boolean),
    collection: query.get("collection"),
    filter: readFilter(query.get("filter")),
    labels: query.getAll("label").map(readLabel).filter(Boolean),
    minScore: minScore > 0 && minScore <= 1 ? minScore : 0,
    sort: SORTS.includes(query.get("sort")) ? query.get("sort") : "relevance",
    isFolded: query.get("fold") === "1",
    image: /^[1-9]\d{0,17}$/.test(image ?? "") ? Number(image) : null,
  };
}

/** The address of a state. */
export function writeState(state) {
  const query = new URLSearchParams();
  if (state.text) query.set("q", state.text);
  for (const { kind, value, weight } of state.parts) {
    query.append("part", `${weight === 1 ? "" : `${weight}*`}${kind}:${value}`);
  }
  if (state.collection) query.set("collection", state.collection);
  if (Object.keys(state.filter).length) query.set("filter", JSON.stringify(state.filter));
  for (const { label_set: set, label, min_score: score } of state.labels) {
    query.append("label", `${encodeURIComponent(set)}:${encodeURIComponent(label)}${score === null ? "" : `:${score}`}`);
  }
  if (state.minScore) query.set("min", String(Number(state.minScore.toPrecision(2))));
  if (state.sort !== "relevance") query.set("sort", state.sort);
  if (state.isFolded) query.set("fold", "1");
  if (state.image !== null) query.set("image", String(state.image));
  const written = query.toString();
  return written ? `/?${written}` : "/";
}

const NAMES = { text: "text", image: "image_id", upload: "upload_id" };

/** Whether something is searched for, rather than everything listed. */
export function hasQuery(state) {
  return partsOf(state).length > 0;
}

/** Whether the query says only what isn't wanted: nothing can be found by that. */
export function lacksWanted(state) {
  const all = partsOf(state);
  return all.length > 0 && all.every((part) => part.weight < 0);
}

/** All parts of the query, those that are typed too. */
function partsOf(state) {
  const { text, parts } = readTyped(state.text);
  return [...(text ? [{ kind: "text", value: text, weight: 1 }] : []), ...state.parts, ...parts];
}

/** Whether images are left out for another reason than the cut-off. */
export function hasFilters(state) {
  return state.collection !== null || Object.keys(state.filter).length > 0 || state.labels.length > 0;
}

/** The body of POST /v1/search; null where there is nothing to ask. */
export function toRequest(state) {
  if (lacksWanted(state)) return null;
  const all = partsOf(state);
  const request = { sort: state.sort };
  if (all.length === 1 && all[0].weight === 1) {
    request[all[0].kind === "text" ? "query" : NAMES[all[0].kind]] = all[0].value;
  } else if (all.length) {
    request.parts = all.map(({ kind, value, weight }) => ({ [NAMES[kind]]: value, weight }));
  } else {
    request.exclude_failed = true;
  }
  if (state.collection) request.collection = state.collection;
  if (Object.keys(state.filter).length) request.filter = state.filter;
  if (state.labels.length) request.labels = state.labels;
  if (state.minScore && all.length) request.min_score = state.minScore;
  if (state.isFolded) request.fold_duplicates = true;
  return request;
}

/** The words whose place in an image can be shown; "" where the query has none that are wanted. */
export function wordsOf(state) {
  const typed = readTyped(state.text).text;
  return typed || (state.parts.find((part) => part.kind === "text" && part.weight > 0)?.value ?? "");
}

const WORD = /[^\s\p{P}$+<=>^`|~−]/u; // what a text needs, or there is nothing to embed
const BEGUN = /(^|\s)[+\-−–]*"?\s*$/; // of a term whose word isn't typed yet
const TERM = /(^|\s)([+\-−–])(?:"([^"]+)"?|([^\s"+\-−–][^\s"]*))/g;

/**
 * Take what is typed apart: `beach -people +"red car"` is beach, with people at -1 and red car at 1. What has no word
 * is passed over, such as the sign of a term that is begun.
 *
 * @returns {{text: string, parts: Array}}
 */
export function readTyped(typed) {
  const parts = [];
  const text = typed.replace(TERM, (_, before, sign, quoted, word) => {
    parts.push({ kind: "text", value: (quoted ?? word).trim(), weight: sign === "+" ? 1 : -1 });
    return before;
  });
  const words = text.replace(BEGUN, "").replace(/\s+/g, " ").trim();
  return { text: WORD.test(words) ? words : "", parts: parts.filter((part) => WORD.test(part.value)) };
}

/** Whether the last term that is typed is complete: a space follows, or its quotes are closed. */
export function endsTerm(typed) {
  const { parts } = readTyped(typed);
  if (!parts.length) return false;
  const isOpen = (typed.match(/"/g) ?? []).length % 2 === 1;
  return !isOpen && (/\s$/.test(typed) || /"$/.test(typed));
}
