// The files that were dropped or chosen: folders are walked, and what can't be an image is left out.

const IMAGE_NAMES = /\.(jpe?g|jfif|png|webp|gif|bmp|tiff?|heic|heif|avif|jxl|jp2|ppm|pgm|tga)$/i;
const HIDDEN = /(^|\/)(\.|__MACOSX\/|Thumbs\.db$)/i;

/** A file and the path that it had below what was dropped. */
function found(file, path) {
  return { file, name: path.replace(/^\//, "") || file.name };
}

/** Whether a file that nobody named by itself, but that lay in a folder, is an image. */
export function isLikelyImage({ file, name }) {
  return !HIDDEN.test(name) && (file.type.startsWith("image/") ? file.type !== "image/svg+xml" : IMAGE_NAMES.test(name));
}

function readEntries(reader) {
  return new Promise((resolve, reject) => {
    reader.readEntries(resolve, reject);
  });
}

async function* walk(entry) {
  if (entry.isFile) {
    yield found(await new Promise((resolve, reject) => entry.file(resolve, reject)), entry.fullPath);
    return;
  }
  const reader = entry.createReader();
  for (let some = await readEntries(reader); some.length; some = await readEntries(reader)) { // a hundred at a time
    for (const each of some) yield* walk(each);
  }
}

/**
 * The files of a drop: those that were dropped themselves, and the images of the folders.
 *
 * @returns {Promise<{files: Array<{file, name}>, leftOut: number}>}
 */
export async function readDrop(transfer) {
  // Entries and files have to be asked for at once: after the first pause the browser has emptied the drop.
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry?.() ?? null);
  const plain = [...transfer.files];
  const files = [];
  let leftOut = 0;
  if (!entries.some((entry) => entry?.isDirectory)) return { files: plain.map((file) => found(file, file.name)), leftOut };
  for (const entry of entries.filter(Boolean)) {
    for await (const each of walk(entry)) {
      if (entry.isFile || isLikelyImage(each)) files.push(each);
      else leftOut += 1;
    }
  }
  return { files, leftOut };
}

/** The files that a file or folder field has. */
export function readField(field) {
  const all = [...field.files].map((file) => found(file, file.webkitRelativePath || file.name));
  const files = field.webkitdirectory ? all.filter(isLikelyImage) : all;
  return { files, leftOut: all.length - files.length };
}
