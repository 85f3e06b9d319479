// An image that is dropped or pasted anywhere is searched by.
import { ask } from "../api.js";
import { toast } from "../ui.js";
import { useEffect, useRef, useState } from "../vendor/htm-preact.js";

function imageOf(transfer) {
  return [...(transfer?.files ?? [])].find((file) => file.type.startsWith("image/") || /\.(heic|heif|avif|jxl|tiff?)$/i.test(file.name));
}

/**
 * Take images that are dropped or pasted: `{isOver, isUploading, upload}`.
 *
 * `onUploaded(uploadId, isPart)` is called when the server has one; `isPart` says that it was dropped on the search box,
 * or chosen there, and so joins the query instead of replacing it.
 */
export function useDrop(onUploaded) {
  const [isOver, setOver] = useState(false);
  const [isUploading, setUploading] = useState(false);
  const latest = useRef(onUploaded);
  latest.current = onUploaded;

  const upload = async (file, isPart) => {
    const form = new FormData();
    form.append("file", file, file.name || "image");
    setUploading(true);
    try {
      const { upload_id: id } = await ask("/v1/uploads", { form });
      latest.current(id, isPart);
    } catch (error) {
      toast(error.status === 0 ? "The server doesn't answer." : `That image can't be searched by. ${error.detail}`, { tone: "danger" });
    } finally {
      setUploading(false);
    }
  };

  useEffect(() => {
    let depth = 0; // of elements that are entered and not yet left
    const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    const enter = (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      depth += 1;
      setOver(true);
    };
    const over = (event) => hasFiles(event) && event.preventDefault();
    const leave = (event) => {
      if (!hasFiles(event)) return;
      depth = Math.max(depth - 1, 0);
      if (depth === 0) setOver(false);
    };
    const take = (event, transfer, isPart) => {
      const file = imageOf(transfer);
      if (file) {
        event.preventDefault();
        upload(file, isPart);
      } else if (transfer?.files?.length) {
        event.preventDefault();
        toast("That isn't an image. To index files, use Ingest.", { tone: "danger" });
      }
    };
    const drop = (event) => {
      depth = 0;
      setOver(false);
      take(event, event.dataTransfer, Boolean(event.target.closest?.(".query")));
    };
    const paste = (event) => take(event, event.clipboardData, false);
    const listeners = { dragenter: enter, dragover: over, dragleave: leave, drop, paste };
    for (const [name, listener] of Object.entries(listeners)) addEventListener(name, listener);
    return () => {
      for (const [name, listener] of Object.entries(listeners)) removeEventListener(name, listener);
    };
  }, []);
  return { isOver, isUploading, upload };
}
