// The view /labels.
export { LabelsView } from "./labels/view.js";
