// Where the tiles are: rows of one height each that fill the width, so that every image is shown as a whole.

const LEAST_ASPECT = 0.5; // narrower and wider images are cropped
const MOST_ASPECT = 2.6;

function aspectOf({ width, height }) {
  return width && height ? Math.min(Math.max(width / height, LEAST_ASPECT), MOST_ASPECT) : 1;
}

/** The height that rows should have and the space between tiles, CSS pixels, for a width. */
export function measuresOf(width) {
  if (width < 480) return { wanted: 118, gap: 4 };
  if (width < 900) return { wanted: 160, gap: 6 };
  return { wanted: 196, gap: 8 };
}

/**
 * Place matches into rows.
 *
 * A last row that isn't full is left out while there is more: it would be placed again, and move, when that arrives.
 *
 * @returns {{rows: Array<{top, height, tiles: Array<{index, left, width}>}>, height: number}} CSS pixels
 */
export function placeTiles(matches, width, hasMore) {
  const { wanted, gap } = measuresOf(width);
  const rows = [];
  let top = 0;
  let begin = 0;
  let aspects = 0;

  const close = (end, height) => {
    let left = 0;
    const tiles = [];
    for (let index = begin; index < end; index += 1) {
      const isLast = index === end - 1;
      const exact = aspectOf(matches[index]) * height;
      tiles.push({ index, left, width: isLast && height !== wanted ? Math.max(width - left, 1) : exact });
      left += exact + gap;
    }
    rows.push({ top, height, tiles });
    top += height + gap;
    begin = end;
    aspects = 0;
  };

  for (let index = 0; index < matches.length; index += 1) {
    const aspect = aspectOf(matches[index]);
    const heightWith = (width - gap * (index - begin)) / (aspects + aspect);
    if (heightWith <= wanted) {
      const heightWithout = aspects ? (width - gap * (index - begin - 1)) / aspects : Infinity;
      if (heightWithout - wanted < wanted - heightWith) {
        close(index, heightWithout);
        aspects = aspect;
        if ((width / aspect) <= wanted) close(index + 1, width / aspect);
      } else {
        close(index + 1, heightWith);
      }
    } else {
      aspects += aspect;
    }
  }
  if (begin < matches.length && !(hasMore && rows.length)) close(matches.length, wanted);
  return { rows, height: Math.max(top - gap, 0) };
}

/** The rows between two heights: [first, last + 1]. */
export function rowsBetween(rows, from, to) {
  let first = rows.findIndex((row) => row.top + row.height >= from);
  if (first < 0) first = rows.length;
  let end = first;
  while (end < rows.length && rows[end].top <= to) end += 1;
  return [first, end];
}

/** The row of the tile at an index; -1 where it isn't placed. */
export function rowOf(rows, index) {
  let low = 0;
  let high = rows.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const { tiles } = rows[middle];
    if (index < tiles[0].index) high = middle - 1;
    else if (index > tiles[tiles.length - 1].index) low = middle + 1;
    else return middle;
  }
  return -1;
}

/** The index of the tile that a key leads to from another one; the same where there is none. */
export function step(rows, index, key, rowsAPage) {
  const last = rows.length ? rows[rows.length - 1].tiles[rows[rows.length - 1].tiles.length - 1].index : 0;
  const row = rowOf(rows, index);
  if (row < 0) return 0;
  const vertical = { ArrowUp: -1, ArrowDown: 1, PageUp: -rowsAPage, PageDown: rowsAPage }[key];
  if (vertical) {
    const target = rows[Math.min(Math.max(row + vertical, 0), rows.length - 1)];
    const tile = rows[row].tiles.find((each) => each.index === index);
    const middle = tile.left + tile.width / 2;
    const distance = (each) => Math.abs(each.left + each.width / 2 - middle);
    return target.tiles.reduce((best, each) => (distance(each) < distance(best) ? each : best)).index;
  }
  const { tiles } = rows[row];
  const targets = { ArrowLeft: index - 1, ArrowRight: index + 1, Home: tiles[0].index, End: tiles[tiles.length - 1].index, First: 0, Last: last };
  return Math.min(Math.max(targets[key] ?? index, 0), last);
}
