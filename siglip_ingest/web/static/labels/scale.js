// Scores as logits: ln(score / (1 - score)), a scale on which scores near 0 and near 1 can be told apart.

export const REACH = 12; // as the API's histograms

/** The logit of a score, at most `REACH` from 0. */
export function logitOf(score) {
  if (score <= 0) return -REACH;
  if (score >= 1) return REACH;
  return Math.min(Math.max(Math.log(score / (1 - score)), -REACH), REACH);
}

/** The score of a logit. */
export function scoreOf(logit) {
  return 1 / (1 + Math.exp(-logit));
}

function digitsOf(score, more) {
  const least = Math.min(score, 1 - score);
  return Math.min(Math.max(2, Math.ceil(-Math.log10(Math.max(least, 1e-9))) + more), 8);
}

/** A score with the digits that tell it from its neighbours on this scale: 0.42, 0.0031, 0.99921. */
export function showScore(score) {
  if (score === null || score === undefined) return "–";
  if (score <= 0) return "0";
  if (score >= 1) return "1";
  if (score < 1e-5) return "< 0.00001";
  if (score > 1 - 1e-5) return "> 0.99999";
  return score.toFixed(digitsOf(score, 1));
}

/** A score without more digits than a person could choose by hand. */
export function roundScore(score) {
  return Number(score.toFixed(digitsOf(score, 2)));
}

/**
 * How many images reach a score, by a histogram: exact between bins, in between by the share of the bin.
 */
export function estimateAbove({ counts }, threshold) {
  const place = ((logitOf(threshold) + REACH) / (2 * REACH)) * counts.length;
  const bin = Math.min(Math.floor(place), counts.length - 1);
  const above = counts.slice(bin + 1).reduce((sum, count) => sum + count, 0);
  return Math.round(above + counts[bin] * (bin + 1 - place));
}

/** Scores where an axis of so many CSS pixels has room for a tick. */
export function ticksFor(width) {
  if (width < 420) return [0.001, 0.1, 0.5, 0.9, 0.999];
  if (width < 640) return [0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999];
  return [0.00001, 0.0001, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999, 0.9999, 0.99999];
}

/** Counts that a scale up to `most` marks: a few, round. */
export function countTicks(most) {
  const round = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6];
  const top = round.filter((each) => each <= most).at(-1) ?? 1;
  return [...new Set([top, round.filter((each) => each <= top / 5).at(-1)])].filter(Boolean);
}
