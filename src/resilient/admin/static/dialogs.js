/** Trip and release: two dialogs, with a reason each, the API's refusals in words, and proof of arrival. */

import * as api from "./api.js";
import { modeInWords } from "./cards.js";
import { byId, el, setText, show } from "./dom.js";
import { count, countdown, listing, number, rate } from "./format.js";
import { holdsOf } from "./store.js";

/** Return everything that a refusal says, as elements. */
export function refusalInWords(error) {
  if (!(error instanceof api.Problem)) return [el("p", { text: `The server was not reached: ${error.message}` })];
  const { body, status, retryAfter } = error;
  const parts = [el("p", {}, el("strong", { text: `Refused (${status}). ` }), error.message)];
  const list = (title, items) => {
    if (items.length) parts.push(el("p", { text: title }), el("ul", {}, ...items.map((item) => el("li", { text: item }))));
  };
  list("Rules in the way:", (body.violations ?? []).map(inWords));
  list("Fields:", (body.errors ?? []).map(inWords));
  list("Did you mean:", body.close_matches ?? body.details?.close_matches ?? []);
  if (status === 412 || status === 428) parts.push(el("p", { text: "The holds have changed since you opened this. Look at them again; sending once more replaces what is there now." }));
  if (retryAfter) parts.push(el("p", { text: `Try again in ${count(retryAfter, "second")}.` }));
  return parts;
}

function inWords(item) {
  if (typeof item === "string") return item;
  const { id, rule, field, parameter, loc, message, detail, msg } = item;
  const name = id ?? rule ?? field ?? parameter ?? loc?.join?.(".");
  const text = message ?? detail ?? msg ?? JSON.stringify(item);
  return name ? `${name}: ${text}` : text;
}

/** "Applied in 4 of 4 processes", and who is missing. */
export function arrivalInWords({ convergence, status, masked_by: masked = [] }) {
  if (!convergence) return [status ? `Accepted (${status}).` : "Accepted."];
  const { required, applied, pending = [], waited_s: waited } = convergence;
  const words = [`Applied in ${applied} of ${count(required, "process", "processes")}.`];
  if (pending.length) {
    const names = pending.map((each) => each.process ?? each.instance ?? String(each));
    words.push(`Not yet acknowledged after ${number(waited ?? 0)} s: ${listing(names)}. Each of them checks before its next call.`);
  }
  if (masked.length) words.push(`A stronger hold counts meanwhile: ${listing(masked)}.`);
  return words;
}

/** What both dialogs share: opening, telling, closing, and giving the focus back. */
class Sheet {
  constructor(app, id) {
    this.app = app;
    this.dialog = byId(id);
    this.form = this.dialog.querySelector("form");
    this.title = this.dialog.querySelector("h2");
    this.context = this.dialog.querySelector(".context");
    this.alert = this.dialog.querySelector(".refusal");
    this.result = this.dialog.querySelector(".result");
    this.fields = this.dialog.querySelector(".fields");
    this.submit = this.dialog.querySelector("button[type=submit]");
    this.closer = this.dialog.querySelector(".close");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send(() => this.act());
    });
    this.closer.addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("close", () => this.closed());
    this.form.addEventListener("invalid", (event) => event.target.setAttribute("aria-invalid", "true"), true);
    this.form.addEventListener("input", (event) => event.target.removeAttribute("aria-invalid"));
  }

  open(name, opener, only) {
    this.name = name;
    this.opener = opener;
    this.form.reset();
    this.alert.replaceChildren();
    this.result.replaceChildren();
    for (const field of this.form.elements) field.removeAttribute("aria-invalid");
    this.settle(false);
    this.etag = this.app.store.downstreams.get(name)?.etag; // what the operator sees is what may be changed
    this.prepare(this.app.store.downstreams.get(name), only);
    this.dialog.showModal();
    this.fields.querySelector("input:not(:disabled), select")?.focus();
  }

  /** Show the form, or what came of it. */
  settle(done) {
    show(this.fields, !done);
    show(this.submit, !done);
    for (const extra of this.dialog.querySelectorAll(".only-form")) show(extra, !done);
    setText(this.closer, done ? "Close" : "Cancel");
  }

  async send(request) {
    if (this.busy) return;
    this.busy = true;
    this.dialog.setAttribute("aria-busy", "true");
    this.alert.replaceChildren();
    try {
      const done = await request();
      if (done) {
        this.settle(true);
        this.result.replaceChildren(...done.map((text) => el("p", { text })));
        this.closer.focus();
        this.app.refreshRecord();
      }
    } catch (error) {
      this.alert.replaceChildren(...refusalInWords(error));
      if (error.status === 412 || error.status === 428) this.etag = this.app.store.downstreams.get(this.name)?.etag;
      this.alert.scrollIntoView({ block: "nearest" });
    } finally {
      this.busy = false;
      this.dialog.removeAttribute("aria-busy");
    }
  }

  /** The browser gives the focus back to the opener; if that is gone, its card takes it. */
  closed() {
    this.form.reset();
    if (!this.opener.isConnected || this.opener.hidden || document.activeElement !== this.opener) this.app.goTo(this.name, false);
    this.app.render();
  }

  get reason() {
    return this.form.elements.reason.value.trim();
  }
}

/** The dialog that places a hold. */
export class TripSheet extends Sheet {
  constructor(app) {
    super(app, "trip");
    this.form.addEventListener("change", () => this.fit());
    this.form.addEventListener("input", () => this.fit());
    this.dialog.querySelector(".check").addEventListener("click", () => {
      if (this.form.reportValidity()) this.send(() => this.check());
    });
  }

  prepare(each) {
    setText(this.title, `Trip ${this.name}`);
    const now = each ? `Now ${rate(each.rate)} calls, ${number(each.in_flight)} in flight, in ${count(each.live, "process", "processes")}. Calls in flight are not cut.` : "";
    setText(this.context, now);
    this.fit();
  }

  /** Offer only what fits the chosen mode and end. */
  fit() {
    const { mode, percent, disposition, until, ttl } = this.form.elements;
    const refuses = mode.value === "forced_open";
    for (const field of [percent, disposition]) field.disabled = !refuses;
    for (const part of this.dialog.querySelectorAll(".only-open")) show(part, refuses);
    ttl.disabled = until.value !== "other";
    ttl.required = until.value === "other";
    setText(this.submit, mode.value === "no_retries" ? "Turn retries off" : mode.value === "forced_open" ? "Trip" : "Hold");
  }

  get hold() {
    const { mode, percent, disposition, until, ttl, ticket } = this.form.elements;
    const hold = { mode: mode.value, reason: this.reason, ttl: until.value === "other" ? ttl.value.trim() : until.value };
    if (ticket.value.trim()) hold.ticket = ticket.value.trim();
    if (mode.value !== "forced_open") return hold;
    return { ...hold, percent: Number(percent.value), disposition: disposition.value };
  }

  async check() {
    const answer = await api.place(this.name, this.hold, { etag: this.etag, dryRun: true });
    const { impact } = answer;
    const hits = impact ? ` It would meet ${rate(impact.calls_per_s)} calls; ${number(impact.in_flight)} in flight would finish.` : "";
    this.result.replaceChildren(el("p", { text: `Nothing stands in the way; nothing was changed.${hits}` }));
    return null;
  }

  async act() {
    this.result.replaceChildren();
    const hold = this.hold;
    const answer = await api.place(this.name, hold, { etag: this.etag });
    return [`${this.name} is ${modeInWords({ percent: 100, ...hold })}.`, ...arrivalInWords(answer)];
  }
}

/** The dialog that ends a hold. */
export class ReleaseSheet extends Sheet {
  constructor(app) {
    super(app, "release");
    this.choice = this.dialog.querySelector(".choice");
  }

  prepare(each, only) {
    setText(this.title, `Release ${this.name}`);
    const holds = (each ? holdsOf(each) : []).filter((hold) => (only ? hold.id === only : this.app.mayRelease(hold)));
    const options = holds.map((hold, at) => {
      const input = el("input", { type: "radio", name: "hold", value: hold.id, required: true, checked: at === 0 });
      const left = `ends in ${countdown(this.app.store.remaining(hold, each))}`;
      return el("label", { class: "option" }, input, el("span", {}, el("strong", { text: modeInWords(hold) }), ` by ${hold.actor}: ${hold.reason} (${left})`));
    });
    this.choice.replaceChildren(el("legend", { text: holds.length > 1 ? "Which hold" : "The hold" }), ...options);
    setText(this.context, "Calls come back through a ramp, not all at once. Holds of others stay.");
  }

  async act() {
    const answer = await api.release(this.form.elements.hold.value, this.reason);
    const left = answer.effective && answer.effective !== "auto" ? ` Still in force: ${modeInWords({ mode: answer.effective, percent: 100 })}.` : "";
    return [`The hold on ${this.name} is released.${left}`, ...arrivalInWords(answer)];
  }
}
