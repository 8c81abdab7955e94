/** The downstreams, as cards and as rows of a table; both are made once and then changed in place. */

import { el, setAttribute, setText, show } from "./dom.js";
import { clock, count, countdown, duration, full, latency, number, rate, relative, share } from "./format.js";
import { glyph, sparkline, strip } from "./shapes.js";
import { MODES, holdsOf, stateInWords, stateOf } from "./store.js";

/** Return a <time> that shows a clock and how long ago that was: {node, set(iso, now)}. */
export function moment() {
  const at = el("time");
  const ago = el("span", { class: "ago" });
  const node = el("span", { class: "moment" }, at, " ", ago);
  const set = (iso, now) => {
    setAttribute(at, "datetime", iso);
    setAttribute(at, "title", full(iso));
    setText(at, clock(iso, now));
    setText(ago, `(${relative(iso, now)})`);
  };
  return { node, set };
}

/** The processes per state, the worst first. */
const statesOf = (each) => Object.entries(each.states ?? {}).sort((a, b) => stateOf(a[0]).rank - stateOf(b[0]).rank);

/** "3 closed, 1 open", or "4 processes closed". */
export function processesInWords(each) {
  const states = statesOf(each);
  if (states.length === 0) return "no live process";
  if (states.length === 1) return `${count(states[0][1], "process", "processes")} ${stateOf(states[0][0]).word}`;
  return states.map(([state, n]) => `${n} ${stateOf(state).word}`).join(", ");
}

/** Why a downstream is in its state; a hold tells that itself. */
export function causeOf(each) {
  if (!each.cause || each.cause === "hold") return "";
  return each.cause === "window" ? "maintenance window" : each.cause.replaceAll("_", " ");
}

/** How near a breaker is to opening, or when it tries again. */
function breakerInWords({ state, open_for: wait, failure_rate: failing, threshold, calls }) {
  if (state === "open" && wait) return [[`next try within ${duration(wait)}`, null]];
  const near = state === "closed" && threshold && calls && failing >= threshold / 2;
  return near ? [[`failure rate ${share(failing)}, opens at ${share(threshold)}`, "warn"]] : [];
}

/** What else is worth a word: retries, limits, ramps. */
function traits(each) {
  const words = [[`retries ${each.retries ?? "on"}`, each.retries === "off" ? "warn" : null]];
  if (each.ramping) words.push([`returning, ${share(each.share)} admitted`, "warn"]);
  else if (typeof each.share === "number" && each.share < 1 && each.share > 0) words.push([`${share(each.share)} admitted`, "warn"]);
  words.push(...Object.values(each.breakers ?? {}).flatMap(breakerInWords));
  for (const { active, limit, queued } of Object.values(each.bulkheads ?? {})) {
    const full = limit > 0 && active / limit >= 0.9;
    words.push([`bulkhead ${number(active)}/${number(limit)}${queued ? `, ${number(queued)} waiting` : ""}`, full ? "warn" : null]);
  }
  if (each.budget <= 0.5 && each.budget !== null) words.push([`retry budget ${share(each.budget)}`, each.budget <= 0.05 ? "warn" : null]);
  if (each.incidents?.count_24h) words.push([`${count(each.incidents.count_24h, "incident")} in 24 h`, null]);
  return words;
}

/** Mode and percent of a hold, in words. */
export const modeInWords = (hold) => `${MODES[hold.mode] ?? hold.mode}${hold.percent < 100 ? ` for ${hold.percent}% of calls` : ""}`;

/** Return the list of holds of a downstream, each with its own release: {node, update}. */
function holdList(app, name, refocus) {
  const node = el("ul", { class: "holds" });
  let made = [];
  const update = (each) => {
    const holds = holdsOf(each);
    const key = holds.map((hold) => `${hold.id}/${hold.revision}/${hold.masked}`).join();
    if (node.dataset.key !== key) {
      node.dataset.key = key;
      made = holds.map((hold) => {
        const left = el("span", { class: "left" });
        const end = el("time", { datetime: hold.expires_at, title: full(hold.expires_at) });
        const who = `${hold.actor}${hold.ticket ? ` · ${hold.ticket}` : ""}`;
        const release = (event) => app.release(name, event.currentTarget, hold.id);
        const label = `Release ${name} (${modeInWords(hold)} by ${hold.actor})…`;
        const line = el("li", { class: hold.masked ? "masked" : null });
        const parts = [
          el("p", { class: "what" }, el("strong", { text: modeInWords(hold) }), hold.masked && el("span", { class: "ago", text: "masked", title: "A stronger hold counts" }), left),
          app.mayRelease(hold) && el("button", { type: "button", class: "strong", text: "Release…", "aria-label": label, "aria-haspopup": "dialog", on: { click: release } }),
          el("p", { class: "why", text: hold.reason }),
          el("p", { class: "who" }, `${who} · until `, end),
        ];
        line.append(...parts.filter(Boolean));
        return { line, left, end };
      });
      const focused = node.contains(document.activeElement);
      node.replaceChildren(...made.map(({ line }) => line));
      if (focused) refocus();
    }
    holds.forEach((hold, at) => {
      setText(made[at].left, `ends in ${countdown(app.view.remaining(hold, each))}`);
      setText(made[at].end, clock(hold.expires_at, app.view.now, false));
    });
    show(node, holds.length > 0);
  };
  return { node, update };
}

/** Return a button that opens a dialog; its name says for which downstream. */
function button(word, name, open) {
  return el("button", { type: "button", text: `${word}…`, "aria-label": `${word} ${name}…`, "aria-haspopup": "dialog", on: { click: open } });
}

/** Return the buttons of a downstream, or nothing at all for who may only look; `single` leaves the one that fits most. */
export function actions(app, name, single) {
  if (!app.mayChange(name)) return { node: null, update() {} };
  const trip = button("Trip", name, (event) => app.trip(name, event.currentTarget));
  const release = button("Release", name, (event) => app.release(name, event.currentTarget));
  release.classList.add("strong");
  const update = (each) => {
    const held = (each.holds ?? []).some((hold) => app.mayRelease(hold));
    const focused = document.activeElement;
    show(release, held);
    show(trip, !(single && held));
    // A button that goes hands the focus on.
    if (release.hidden && focused === release) trip.focus();
    if (trip.hidden && focused === trip) release.focus();
  };
  return { node: el("div", { class: "actions" }, release, trip), update };
}

/** A pair of a definition list, with the value to be set. */
function figure(term, title) {
  const value = el("dd");
  return { value, node: el("div", {}, el("dt", { text: term, title }), value) };
}

/** Return the maker of cards for a `KeyedList`. */
export function cardMaker(app) {
  return (name) => {
    const id = `card-${cardMaker.made++}`;
    const picture = glyph();
    const word = el("span", { class: "badge" });
    const title = el("h3", { id, tabindex: "-1", text: name, title: name });
    const since = moment();
    const cause = el("span");
    const story = el("p", { class: "story" }, el("span", { text: "since " }), since.node, cause);
    const chart = sparkline();
    const big = {
      rate: figure("calls", "asked for, those that were rejected included"), errors: figure("errors"), rejected: figure("rejected", "refused by us, not by the downstream"), flight: figure("in flight"),
      p50: figure("p50"), p90: figure("p90"), p99: figure("p99"),
    };
    const figures = el("dl", { class: "figures" }, ...Object.values(big).map(({ node }) => node));
    const fleet = strip();
    const fleetWords = el("span");
    const extra = el("ul", { class: "traits" });
    const holds = holdList(app, name, () => title.focus());
    const trip = app.mayChange(name) && button("Trip", name, (event) => app.trip(name, event.currentTarget));
    const node = el(
      "article", { class: "card", "aria-labelledby": id },
      el("header", {}, picture.node, title, word),
      story, chart.node, figures,
      el("p", { class: "fleet" }, fleet.node, fleetWords),
      el("div", { class: "foot" }, extra, trip),
      holds.node,
    );
    const update = (each) => {
      const state = stateOf(each.state);
      setAttribute(node, "data-tone", state.tone);
      setAttribute(node, "data-state", each.state);
      picture.set(each.state);
      setText(word, stateInWords(each));
      const why = causeOf(each);
      show(story, Boolean(each.since || why));
      show(story.firstChild, Boolean(each.since));
      show(since.node, Boolean(each.since));
      if (each.since) since.set(each.since, app.view.now);
      setText(cause, why ? `${each.since ? " · " : ""}${why}` : "");
      chart.update(each);
      setText(big.rate.value, rate(each.rate));
      setText(big.errors.value, share(each.error_share));
      setAttribute(big.errors.value, "data-tone", each.error_share >= 0.1 ? "bad" : each.error_share >= 0.02 ? "warn" : null);
      setText(big.rejected.value, rate(each.rejected_rate));
      setAttribute(big.rejected.value, "data-tone", each.rejected_rate > 0 ? "warn" : null);
      setText(big.flight.value, number(each.in_flight));
      for (const p of ["p50", "p90", "p99"]) setText(big[p].value, latency(each[p]));
      fleet.update(statesOf(each));
      setText(fleetWords, processesInWords(each));
      const words = traits(each);
      const key = words.join("|");
      if (extra.dataset.key !== key) {
        extra.dataset.key = key;
        extra.replaceChildren(...words.map(([text, tone]) => el("li", { text, "data-tone": tone })));
      }
      holds.update(each);
    };
    return { node, update, focus: () => title.focus() };
  };
}
cardMaker.made = 0;

/** The columns of the table: heading, order it sorts by or null, class. */
export const COLUMNS = [
  ["State", "attention", ""], ["Downstream", "name", ""], ["Since", null, ""], ["Calls", "rate", "n"], ["Errors", "errors", "n"],
  ["Rejected", null, "n"], ["In flight", null, "n"], ["p50", null, "n"], ["p90", null, "n"], ["p99", "p99", "n"], ["Two minutes", null, ""],
  ["Processes", null, ""], ["Retries", null, ""], ["Holds", null, ""],
];

/** Return the maker of table rows for a `KeyedList`. */
export function rowMaker(app) {
  return (name) => {
    const picture = glyph();
    const word = el("span");
    const since = moment();
    const chart = sparkline();
    const title = el("th", { scope: "row", tabindex: "-1", text: name });
    const texts = Array.from({ length: 7 }, () => el("td", { class: "n" }));
    const [fleet, retries, holds] = [el("td"), el("td"), el("td", { class: "wide" })];
    const buttons = actions(app, name);
    const node = el(
      "tr", {}, el("td", {}, el("span", { class: "state" }, picture.node, word)), title, el("td", {}, since.node), ...texts,
      el("td", {}, chart.node), fleet, retries, holds, buttons.node && el("td", {}, buttons.node),
    );
    const update = (each) => {
      const state = stateOf(each.state);
      setAttribute(node, "data-tone", state.tone);
      picture.set(each.state);
      setText(word, stateInWords(each));
      show(since.node, Boolean(each.since));
      if (each.since) since.set(each.since, app.view.now);
      const values = [rate(each.rate), share(each.error_share), rate(each.rejected_rate), number(each.in_flight), latency(each.p50), latency(each.p90), latency(each.p99)];
      values.forEach((value, at) => setText(texts[at], value));
      chart.update(each);
      setText(fleet, processesInWords(each));
      setText(retries, each.retries ?? "on");
      const told = holdsOf(each).map((hold) => `${modeInWords(hold)} by ${hold.actor}: ${hold.reason} (ends in ${countdown(app.view.remaining(hold, each))})`);
      setText(holds, told.join("; ") || "–");
      buttons.update(each);
    };
    return { node, update, focus: () => title.focus() };
  };
}
