/** What stands around the downstreams: what needs a person, windows, processes, activity and the audit trail. */

import { actions, causeOf, moment, modeInWords, processesInWords } from "./cards.js";
import { el, setAttribute, setText, show } from "./dom.js";
import { countdown, duration, number, rate, relative, share } from "./format.js";
import { glyph } from "./shapes.js";
import { MODES, holdsOf, lags, stateOf } from "./store.js";

/** Return the maker of entries of "needs attention" for a `KeyedList`. */
export function attentionMaker(app) {
  return (key) => {
    const picture = glyph();
    const name = el("button", { type: "button", class: "link", on: { click: () => app.goTo(key) } });
    const label = el("strong");
    const title = el("p", { class: "what" }, picture.node, key.startsWith("process ") ? label : name);
    const reasons = el("p", { class: "why" });
    const detail = el("p", { class: "who" });
    const buttons = key.startsWith("process ") ? { node: null, update() {} } : actions(app, key, true);
    const node = el("li", {}, title, buttons.node, reasons, detail);
    const update = ({ downstream, process, why }) => {
      if (process) {
        picture.set("half_open");
        setAttribute(node, "data-tone", "warn");
        setText(label, `Process ${process.pid} on ${process.host}`);
        setText(reasons, process.stale ? `not heard for ${duration(process.heartbeat_age)}` : `has applied revision ${process.applied}, not ${app.view.overview.revision}`);
        return show(detail, false);
      }
      const state = stateOf(downstream.state);
      picture.set(downstream.state);
      setAttribute(node, "data-tone", state.tone === "ok" ? "warn" : state.tone);
      setText(name, downstream.name);
      const since = downstream.since && state.tone !== "ok" ? `, ${relative(downstream.since, app.view.now)}` : "";
      setText(reasons, `${why.join(" · ")}${since}`);
      setText(detail, attentionDetail(downstream, app.view));
      show(detail, detail.textContent !== "");
      buttons.update(downstream);
    };
    return { node, update };
  };
}

function attentionDetail(each, store) {
  const words = [];
  const hold = holdsOf(each)[0];
  if (hold) words.push(`${hold.actor}: ${hold.reason}, ends in ${countdown(store.remaining(hold, each))}`);
  else if (causeOf(each) && each.state !== "closed") words.push(causeOf(each));
  if (Object.keys(each.states ?? {}).length > 1) words.push(processesInWords(each));
  if (each.rejected_rate > 0) words.push(`${rate(each.rejected_rate)} rejected`);
  return words.join(" · ");
}

/** Return the maker of rows of the processes table. */
export function processMaker(app) {
  return () => {
    const state = el("span");
    const picture = glyph();
    const started = moment();
    const texts = Array.from({ length: 4 }, () => el("td"));
    const [heard, applied, errors] = [el("td", { class: "n" }), el("td", { class: "n" }), el("td")];
    const node = el("tr", {}, el("td", {}, el("span", { class: "state" }, picture.node, state)), ...texts, el("td", {}, started.node), heard, applied, errors);
    const update = (each) => {
      const behind = lags(each, app.view.overview);
      picture.set(each.stale ? "open" : behind ? "half_open" : "closed");
      setText(state, each.stale ? "silent" : behind ? "behind" : "in sync");
      [each.host, number(each.pid).replaceAll(",", ""), each.version, each.python].forEach((text, at) => setText(texts[at], String(text ?? "–")));
      started.set(each.started_at, app.view.now);
      setText(heard, `${duration(each.heartbeat_age)} ago`);
      setText(applied, String(each.applied ?? "–"));
      const found = Object.entries(each.errors ?? {}).filter(([, n]) => n > 0);
      setText(errors, found.map(([what, n]) => `${what}: ${n}`).join(", ") || "none");
    };
    return { node, update };
  };
}

/** Return the maker of entries of the maintenance windows. */
export function windowMaker(app) {
  return () => {
    const what = el("strong");
    const status = el("span", { class: "badge" });
    const why = el("p", { class: "why" });
    const [from, to] = [moment(), moment()];
    const who = el("span");
    const node = el("li", {}, el("p", { class: "what" }, what, " ", status), why, el("p", { class: "who" }, from.node, " to ", to.node, who));
    const update = (each) => {
      setText(what, `${each.selector}: ${modeInWords({ percent: 100, ...each })}`);
      setText(status, each.status);
      setAttribute(node, "data-tone", each.status === "active" ? "held" : null);
      setText(why, each.reason);
      from.set(each.starts_at, app.view.now);
      to.set(each.ends_at, app.view.now);
      setText(who, ` · ${each.actor}${each.ticket ? ` · ${each.ticket}` : ""}`);
    };
    return { node, update };
  };
}

/** Return the maker of rows of the audit trail. */
export function auditMaker(app) {
  return () => {
    const at = moment();
    const texts = Array.from({ length: 5 }, () => el("td"));
    const node = el("tr", {}, el("td", {}, at.node), ...texts);
    const update = (each) => {
      at.set(each.at, app.view.now);
      const who = `${each.actor}${each.via ? ` (${each.via})` : ""}`;
      [who, each.action, each.target, each.outcome, each.reason].forEach((text, n) => setText(texts[n], String(text || "–").replaceAll("_", " ")));
      setAttribute(node, "data-tone", each.outcome === "refused" ? "warn" : null);
    };
    return { node, update };
  };
}

/** Return an event in words, for the list of what happened. */
export function eventInWords(event) {
  const { from, to, cause, actor, reason, mode } = event.fields;
  const name = event.name.replace(/^resilient\./, "").replace(/^override/, "hold").replaceAll(/[._]/g, " ");
  const move = from && to ? `${stateOf(from).word} → ${stateOf(to).word}` : name;
  const words = [move, mode && (MODES[mode] ?? mode), typeof cause === "string" && cause.replaceAll("_", " "), actor && `by ${actor}`, reason];
  if (event.tellers.size > 1) words.push(`in ${event.tellers.size} processes`);
  if (event.times > event.tellers.size) words.push(`${event.times} times`);
  return words.filter(Boolean).join(", ");
}

/** Return the maker of entries of the activity list. */
export function eventMaker(app) {
  return () => {
    const at = moment();
    const name = el("strong");
    const text = el("span");
    const node = el("li", {}, at.node, " ", name, " ", text);
    const update = (event) => {
      at.set(event.at, app.view.now);
      setText(name, event.downstream ?? "");
      setText(text, eventInWords(event));
    };
    return { node, update };
  };
}

/** The figures under the verdict, as [term, value, tone]. */
export function summary(store) {
  const all = [...store.downstreams.values()];
  const overview = store.overview;
  const sum = (value) => all.reduce((total, each) => total + (value(each) ?? 0), 0);
  const calls = sum((each) => each.rate);
  const rejected = sum((each) => each.rejected_rate);
  const errors = calls ? sum((each) => (each.rate ?? 0) * (each.error_share ?? 0)) / calls : 0;
  const holds = sum((each) => each.holds?.length);
  const processes = overview.processes ?? [];
  const insync = processes.filter((each) => !each.stale && !lags(each, overview)).length;
  return [
    ["downstreams", number(all.length), null],
    ["calls", rate(calls), null],
    ["errors", calls ? share(errors) : "–", errors >= 0.1 ? "bad" : errors >= 0.02 ? "warn" : null],
    ["rejected", rate(rejected), rejected > 0 ? "warn" : null],
    ["in flight", number(sum((each) => each.in_flight)), null],
    ["holds", number(holds), holds ? "held" : null],
    ["processes in sync", `${insync} of ${processes.length}`, insync < processes.length ? "warn" : null],
  ];
}

/** The head of the audit chain, to be compared with the logged one. */
export const auditHead = (head) => (head?.hash ? `Head of the chain: entry ${head.seq}, ${head.hash.slice(0, 16)}… (compare it with the log: a chain cannot tell a cut tail)` : "");
