// Where a text matches an image, drawn over it.
import { ask } from "../api.js";
import { html, useEffect, useRef, useState } from "../vendor/htm-preact.js";

// Inferno, by Smith and van der Walt (CC0): equal steps of the value look like equal steps.
const COLOURS = [
  [0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85], [227, 89, 51], [249, 140, 10], [249, 201, 50], [252, 255, 164],
];
const [LEAST_OPACITY, MOST_OPACITY] = [0.35, 0.8];

function colourOf(value) {
  const place = Math.min(Math.max(value, 0), 1) * (COLOURS.length - 1);
  const below = Math.min(Math.floor(place), COLOURS.length - 2);
  return COLOURS[below].map((channel, index) => channel + (place - below) * (COLOURS[below + 1][index] - channel));
}

/** Where a text matches an image: `{map, error, isGone}`; asked for once `isOn`. */
export function useHeat(imageId, text, isOn) {
  const [heat, setHeat] = useState({ map: null, error: null });
  const [isGone, setGone] = useState(false); // this server can't say
  useEffect(() => {
    setHeat({ map: null, error: null });
    if (!isOn || !text) return undefined;
    const controller = new AbortController();
    ask(`/v1/images/${imageId}/location`, { query: { text }, signal: controller.signal }).then(
      (map) => setHeat({ map, error: null }),
      (error) => {
        if (error.name === "AbortError") return;
        if (error.status === 404) setGone(true);
        setHeat({ map: null, error });
      },
    );
    return () => controller.abort();
  }, [imageId, text, isOn]);
  return { ...heat, isGone };
}

/** The map over an image, with a ring where it is highest. */
export function HeatMap({ map, text }) {
  const canvas = useRef();
  useEffect(() => {
    const { rows, columns, values } = map;
    const context = canvas.current.getContext("2d");
    const pixels = context.createImageData(columns, rows);
    values.flat().forEach((value, index) => {
      const opacity = LEAST_OPACITY + value * (MOST_OPACITY - LEAST_OPACITY);
      pixels.data.set([...colourOf(value), 255 * opacity], 4 * index);
    });
    context.putImageData(pixels, 0, 0);
  }, [map]);
  const style = { left: `${100 * map.peak.x}%`, top: `${100 * map.peak.y}%` };
  return html`<canvas ref=${canvas} class="heat" width=${map.columns} height=${map.rows} role="img"
      aria-label=${`Where “${text}” matches: most at ${Math.round(100 * map.peak.x)} percent from the left and ${Math.round(100 * map.peak.y)} percent from the top`}></canvas>
    <span class="heat-peak" style=${style}></span>`;
}
