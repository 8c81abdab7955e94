/** What the page knows: the last overview, kept up to date by deltas, and how old it is. */

import { share } from "./format.js";

export const STALLED_AFTER = 15; // s without a word from the server

/** The worst first; what a person did stands before what happened by itself. */
export const STATES = {
  forced_open: { word: "held open", tone: "held", rank: 0 },
  open: { word: "open", tone: "bad", rank: 1 },
  half_open: { word: "half-open", tone: "warn", rank: 2 },
  observe: { word: "observed only", tone: "watch", rank: 4 },
  forced_closed: { word: "held closed", tone: "watch", rank: 4 },
  closed: { word: "closed", tone: "ok", rank: 9 },
};

/** Return how a state is named and coloured; a state of a newer server is shown by its own word. */
export const stateOf = (name) => STATES[name] ?? { word: String(name ?? "unknown"), tone: "warn", rank: 3 };

/** Events of single calls: too many to be news. */
const QUIET = new Set(["resilient.call.rejected", "resilient.retry.scheduled", "resilient.fallback.used"]);

/** The state of a downstream in words; a hold for a part of the calls says for which. */
export function stateInWords(each) {
  const { word } = stateOf(each.state);
  return each.state === "forced_open" && each.share > 0 ? `${word}, ${Math.round((1 - each.share) * 100)}%` : word;
}

export const MODES = {
  forced_open: "held open",
  observe: "observed only",
  forced_closed: "held closed",
  no_retries: "retries off",
};

/** The last overview and what changed. */
export class Store {
  constructor() {
    this.forget();
  }

  forget() {
    this.stopped = null; // of a copy that stands still: when it was made
    this.overview = null;
    this.downstreams = new Map();
    this.heard = -Infinity; // performance.now() when what is known was last true
    this.trouble = ""; // why the server itself cannot see now
    this.skew = 0; // ms that the server's clock is ahead of ours
    this.events = [];
  }

  /** Return a copy that stands still, clocks included. */
  still() {
    const stopped = { steady: performance.now(), wall: Date.now() };
    return Object.assign(new Store(), this, { stopped });
  }

  get steady() {
    return this.stopped?.steady ?? performance.now();
  }

  get age() {
    return (this.steady - this.heard) / 1000;
  }

  get stalled() {
    return this.overview !== null && this.age > STALLED_AFTER;
  }

  /** The server's wall clock, ms since 1970. */
  get now() {
    return (this.stopped?.wall ?? Date.now()) + this.skew;
  }

  /** Take a frame; return the names of those whose state it changed. */
  apply(name, data) {
    if (name === "problem") this.trouble = data.detail;
    if (name === "event") this.happened(data);
    if (name === "beat" || name === "event") this.heard = this.trouble ? this.heard : performance.now();
    if (name !== "snapshot" && (name !== "delta" || this.overview === null)) return [];
    const received = performance.now();
    this.heard = received;
    this.trouble = "";
    const { downstreams = [], gone = [], ...rest } = data;
    this.overview = name === "snapshot" ? rest : { ...this.overview, ...rest };
    if (rest.at) this.skew = Date.parse(rest.at) - Date.now();
    const before = this.downstreams;
    this.downstreams = name === "snapshot" ? new Map() : new Map(before);
    for (const each of gone) this.downstreams.delete(each);
    const moved = [];
    for (const each of downstreams) {
      const old = before.get(each.name);
      if (old && old.state !== each.state) moved.push(each.name);
      this.downstreams.set(each.name, { ...each, received });
    }
    return moved;
  }

  /** Keep an event; one thing told again within seconds, by this process or others, is kept once, with the numbers. */
  happened(event) {
    const { from, to, id, cause } = event.fields;
    if (QUIET.has(event.name) || cause === "override") return; // the hold itself is told beside its transition
    const key = [event.name, event.downstream, from, to, id].join(" ");
    const near = (other) => other.key === key && Math.abs(Date.parse(other.at) - Date.parse(event.at)) < 5000;
    const known = this.events.slice(0, 12).find(near);
    if (known) {
      const tellers = new Set([...known.tellers, event.instance]);
      this.events = this.events.map((each) => (each === known ? { ...each, times: each.times + 1, tellers } : each));
    } else this.events = [{ ...event, key, times: 1, tellers: new Set([event.instance]) }, ...this.events].slice(0, 50);
  }

  /** Seconds until a hold ends, counted on our own steady clock since it was told. */
  remaining(hold, downstream) {
    return Math.max(0, hold.remaining - (this.steady - downstream.received) / 1000);
  }
}

/** Return the holds that count first: those in force, the most restrictive first. */
export function holdsOf(downstream) {
  return [...(downstream.holds ?? [])].sort((a, b) => Number(a.masked ?? false) - Number(b.masked ?? false));
}

/** Return what needs a person, the worst first, as [key, {downstream?, process?, rank, tone, why}]. */
export function attention(store) {
  const found = [];
  for (const each of store.downstreams.values()) {
    const reasons = reasonsOf(each, store);
    if (reasons.length === 0) continue;
    reasons.sort((a, b) => a.rank - b.rank);
    found.push([each.name, { downstream: each, rank: reasons[0].rank, why: reasons.map((reason) => reason.text) }]);
  }
  const processes = (store.overview?.processes ?? []).filter((each) => each.stale || lags(each, store.overview));
  for (const each of processes) found.push([`process ${each.instance}`, { process: each, rank: 3, why: [] }]);
  return found.sort((a, b) => a[1].rank - b[1].rank || a[0].localeCompare(b[0]));
}

/** Whether a process has not applied what the operators want. */
export const lags = (process, overview) => (process.applied ?? 0) < (overview.revision ?? 0);

function reasonsOf(each, store) {
  const state = stateOf(each.state);
  const reasons = [];
  const add = (rank, text) => reasons.push({ rank, text });
  if (state.rank < 9) add(state.rank, stateInWords(each));
  if (each.ramping) add(4, `returning, ${share(each.share)} admitted`);
  if (each.idle) add(4, "nobody calls it");
  if (each.incidents?.open && state.rank === 9) add(4, "incident not over");
  if (each.retries === "off") add(5, "retries off");
  const ending = holdsOf(each).find((hold) => store.remaining(hold, each) < 300);
  if (ending) add(4, "a hold ends within 5 minutes");
  if (Object.keys(each.states ?? {}).length > 1) add(4, "processes differ");
  if (each.error_share >= 0.1 && each.rate > 0) add(3, "many errors");
  if (state.rank === 9 && !each.ramping && each.rejected_rate > 0) add(4, "calls are rejected");
  if (Object.values(each.bulkheads ?? {}).some(({ active, limit }) => limit > 0 && active / limit >= 0.9)) add(5, "bulkhead nearly full");
  if (typeof each.budget === "number" && each.budget <= 0.05) add(5, "retry budget empty");
  return reasons;
}

const ORDERS = {
  attention: (a, b) => a.rank - b.rank,
  name: () => 0,
  rate: (a, b) => (b.rate ?? 0) - (a.rate ?? 0),
  errors: (a, b) => (b.error_share ?? 0) - (a.error_share ?? 0),
  p99: (a, b) => (b.p99 ?? 0) - (a.p99 ?? 0),
};

/** Return the downstreams that fit the filter, in order, as [name, downstream]. */
export function chosen(store, { filter, order }) {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (each) =>
    [each.name, stateOf(each.state).word, each.state, each.cause, ...(each.holds ?? []).flatMap((h) => [h.reason, h.actor, h.ticket, MODES[h.mode]])]
      .join(" ")
      .toLowerCase();
  return [...store.downstreams.values()]
    .filter((each) => words.length === 0 || words.every((word) => text(each).includes(word)))
    .map((each) => ({ ...each, rank: Math.min(9, ...reasonsOf(each, store).map((reason) => reason.rank)) }))
    .sort((a, b) => ORDERS[order](a, b) || a.name.localeCompare(b.name))
    .map((each) => [each.name, each]);
}
