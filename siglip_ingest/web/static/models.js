// The view /models.
export { ModelsView } from "./models/view.js";
