/** Pictures: a shape for each state, sparklines, and strips of processes; all inline SVG, coloured by the stylesheet. */

import { el, setAttribute, svg } from "./dom.js";
import { number, share } from "./format.js";
import { stateOf } from "./store.js";

// Each state is told by its outline alone: a disc lets calls through, an octagon stops them, half a disc tries,
// a square is a person's doing.
const OCTAGON = "M6.4 1.5h7.2l4.9 4.9v7.2l-4.9 4.9H6.4l-4.9-4.9V6.4z";
const SQUARE = "M3.5 1.5h13a2 2 0 0 1 2 2v13a2 2 0 0 1-2 2h-13a2 2 0 0 1-2-2v-13a2 2 0 0 1 2-2z";
const GLYPHS = {
  closed: [["circle", { cx: 10, cy: 10, r: 8.5, class: "body" }], ["path", { d: "M6 10.4l2.8 2.8L14.2 7", class: "mark" }]],
  open: [["path", { d: OCTAGON, class: "body" }], ["path", { d: "M7 7l6 6M13 7l-6 6", class: "mark" }]],
  half_open: [["circle", { cx: 10, cy: 10, r: 7.75, class: "ring" }], ["path", { d: "M10 2.25a7.75 7.75 0 0 0 0 15.5z", class: "body" }]],
  forced_open: [["path", { d: SQUARE, class: "body" }], ["path", { d: "M5.5 10h9", class: "mark" }]],
  forced_closed: [["path", { d: SQUARE, class: "ring" }], ["path", { d: "M6 10.4l2.8 2.8L14.2 7", class: "line" }]],
  observe: [["path", { d: SQUARE, class: "ring" }], ["circle", { cx: 10, cy: 10, r: 3.25, class: "body" }]],
  other: [["path", { d: "M10 1.5l8.5 8.5-8.5 8.5L1.5 10z", class: "body" }]],
};

/** Return a picture whose state can be set: {node, set(state)}. */
export function glyph() {
  const node = svg("svg", { viewBox: "0 0 20 20", class: "glyph", "aria-hidden": "true" });
  let shown;
  const set = (state) => {
    if (shown === state) return;
    shown = state;
    node.replaceChildren(...(GLYPHS[state] ?? GLYPHS.other).map(([tag, attributes]) => svg(tag, attributes)));
    setAttribute(node, "data-tone", stateOf(state).tone);
  };
  return { node, set };
}

const WIDTH = 240;
const HEIGHT = 40;

/** Return the outline of slots as a path; a closed one can be filled. */
function outline(slots, top, close) {
  if (slots.length === 0) return "";
  const step = WIDTH / Math.max(1, slots.length - 1);
  const y = (value) => (HEIGHT - (value / top) * (HEIGHT - 2)).toFixed(1);
  const points = slots.map((value, at) => `${(at * step).toFixed(1)} ${y(value)}`);
  return close ? `M0 ${HEIGHT}L${points.join("L")}L${WIDTH} ${HEIGHT}z` : `M${points.join("L")}`;
}

/** Return the picture of two minutes: calls as an area, errors before it. */
export function sparkline() {
  const calls = svg("path", { class: "calls" });
  const line = svg("path", { class: "calls-line" });
  const errors = svg("path", { class: "errors" });
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  picture.append(svg("path", { class: "base", d: `M0 ${HEIGHT - 0.5}H${WIDTH}` }), calls, errors, line);
  const peak = el("span", { class: "peak", "aria-hidden": "true" });
  const node = el("div", { class: "spark" }, picture, peak);
  const update = (each) => {
    // The newest slot has only begun: drawn, it would look like a drop.
    const [history, failed] = [each.history ?? [], each.errors ?? []].map((slots) => slots.slice(0, -1));
    const top = Math.max(1, ...history, ...failed);
    setAttribute(calls, "d", outline(history, top, true));
    setAttribute(line, "d", outline(history, top, false));
    setAttribute(errors, "d", failed.some((value) => value > 0) ? outline(failed, top, true) : "");
    const sum = (values) => values.reduce((a, b) => a + b, 0);
    const total = sum(history);
    const highest = `peak ${number(Math.max(0, ...history) / 2)}/s`; // a slot is two seconds
    setAttribute(picture, "aria-label", `Last two minutes: ${number(total)} calls, ${highest}, ${share(total ? sum(failed) / total : 0)} errors`);
    if (peak.textContent !== highest) peak.textContent = total ? highest : "no calls in two minutes";
  };
  return { node, update };
}

/** Return a strip that shows how many processes are in which state. */
export function strip() {
  const node = svg("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", class: "strip", "aria-hidden": "true" });
  let shown = "";
  const update = (states) => {
    const key = JSON.stringify(states);
    if (key === shown) return;
    shown = key;
    const all = states.reduce((sum, [, n]) => sum + n, 0) || 1;
    let x = 0;
    const parts = states.map(([state, n]) => {
      const width = (n / all) * 100;
      const part = svg("rect", { x: x + (x ? 0.6 : 0), y: 0, width: Math.max(0, width - (x ? 0.6 : 0)), height: 6, "data-tone": stateOf(state).tone });
      x += width;
      return part;
    });
    node.replaceChildren(...parts);
  };
  return { node, update };
}
