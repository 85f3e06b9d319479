// The view /ingest.
export { IngestView } from "./ingest/view.js";
