/** The page: sign in, follow the feed, and draw what is known, as often as the operator asks. */

import * as api from "./api.js";
import { COLUMNS, cardMaker, rowMaker } from "./cards.js";
import { ReleaseSheet, TripSheet } from "./dialogs.js";
import { KeyedList, byId, el, setAttribute, setText, show } from "./dom.js";
import { clock, count, duration, listing } from "./format.js";
import { Live } from "./live.js";
import { attentionMaker, auditHead, auditMaker, eventMaker, processMaker, summary, windowMaker } from "./panels.js";
import { choices, remember } from "./preferences.js";
import { Store, attention, chosen, stateOf } from "./store.js";

const OPERATORS = ["operator", "admin"];

class App {
  constructor() {
    this.store = new Store();
    this.view = this.store; // what is drawn: the store, or while paused a copy that stands still
    this.mayOperate = false;
    this.drawn = -Infinity;
    this.moved = [];
    this.live = new Live({
      onFrame: (name, data) => this.receive(name, data),
      onMode: (mode) => this.mode(mode),
      onDenied: (problem) => this.askForToken(problem.status === 401 && !this.tried ? "" : problem.message),
    });
    setInterval(() => this.tick(), 1000);
  }

  /** Begin with whatever we have: a token from the address, or none. */
  async begin(token) {
    this.tried = token !== "";
    api.setToken(token);
    try {
      const answer = await api.whoami();
      this.me = answer;
      this.mayOperate = OPERATORS.includes(answer.role);
      this.reach = (answer.only ?? ["*"]).map(pattern);
      setText(byId("role"), `${answer.name}, ${answer.role}`);
      this.open();
    } catch (error) {
      if (error instanceof api.Problem && (error.status === 401 || error.status === 403)) {
        this.askForToken(error.status === 401 && !this.tried ? "" : error.message);
        return;
      }
      this.mode("lost");
      setText(byId("banner"), `Nothing to show yet: ${error.message}`);
      show(byId("banner"), true);
      this.again = setTimeout(() => this.begin(token), Math.max(2, error.retryAfter ?? 0) * 1000);
    }
  }

  /** Whether this caller may place holds on a downstream. */
  mayChange(name) {
    return this.mayOperate && this.reach.some((each) => each.test(name));
  }

  /** Whether this caller may release a hold: one's own, or as an admin any. */
  mayRelease(hold) {
    return this.mayChange(hold.target) && (this.me.role === "admin" || hold.actor === this.me.name);
  }

  /** Build what depends on the role, and follow the feed. */
  open() {
    show(byId("signin"), false);
    show(byId("banner"), false);
    show(byId("role"), true);
    show(byId("leave"), this.tried);
    document.querySelectorAll("dialog").forEach((dialog) => dialog.remove());
    if (this.mayOperate) {
      document.body.append(byId("sheets").content.cloneNode(true));
      this.tripSheet = new TripSheet(this);
      this.releaseSheet = new ReleaseSheet(this);
    }
    this.lists = {
      cards: new KeyedList(byId("cards"), cardMaker(this)),
      rows: new KeyedList(byId("rows"), rowMaker(this)),
      attention: new KeyedList(byId("attention"), attentionMaker(this)),
      windows: new KeyedList(byId("windows"), windowMaker(this)),
      processes: new KeyedList(byId("processes"), processMaker(this)),
      activity: new KeyedList(byId("activity"), eventMaker(this)),
      audit: new KeyedList(byId("audit"), auditMaker(this)),
    };
    this.headings();
    api.events(50).then((found) => found.forEach((event) => this.store.happened(event)), () => {});
    this.live.start();
  }

  /** Forget the token and everything that was shown with it. */
  leave() {
    clearTimeout(this.again);
    this.live.stop();
    api.setToken("");
    Object.values(this.lists ?? {}).forEach((list) => list.clear());
    document.querySelectorAll("dialog").forEach((dialog) => dialog.remove());
    this.store.forget();
    this.mayOperate = false;
    this.recordRead = this.audit = this.windows = undefined;
    this.pause(false);
    for (const id of ["page", "role", "leave", "banner"]) show(byId(id), false);
    this.mode("off");
  }

  askForToken(refusal) {
    this.leave();
    show(byId("signin"), true);
    setText(byId("signin-refusal"), refusal);
    byId("token").focus();
  }

  receive(name, data) {
    const moved = this.store.apply(name, data);
    this.moved.push(...moved);
    if (moved.length && !this.speaking) this.speaking = setTimeout(() => this.announce(), 1500);
    if (this.store.overview && this.recordOf() !== this.recordRead) this.refreshRecord();
    this.schedule();
  }

  get paused() {
    return this.view !== this.store;
  }

  /** Say what changed state, once for a batch; nothing else is ever announced. */
  announce() {
    this.speaking = null;
    const now = new Map(this.moved.map((name) => [name, this.store.downstreams.get(name)?.state]));
    this.moved = [];
    if (this.paused || now.size === 0) return;
    const told = [...now].slice(0, 4).map(([name, state]) => `${name} is ${state ? stateOf(state).word : "gone"}`);
    if (now.size > 4) told.push(`${now.size - 4} more changed`);
    byId("announce").textContent = `${listing(told)}.`;
  }

  /** Draw soon, unless paused, and not more often than asked for. */
  schedule() {
    if (this.waiting || this.paused) return;
    const wait = choices.pace * 1000 - (performance.now() - this.drawn);
    this.waiting = setTimeout(() => requestAnimationFrame(() => this.render()), Math.max(0, wait));
  }

  /** Once a second: count down, and notice when nothing is heard. */
  tick() {
    if (this.store.stalled !== this.wasStalled || this.store.stalled) this.freshness();
    if (this.store.overview) this.schedule();
  }

  render(force = false) {
    clearTimeout(this.waiting);
    this.waiting = null;
    if (this.view.overview === null || (this.paused && !force)) return;
    this.drawn = performance.now();
    this.draw(force);
    this.freshness();
  }

  draw(force) {
    const { view: store, lists } = this;
    const overview = store.overview;
    show(byId("page"), true);
    setText(byId("app"), overview.app ?? "");
    setText(byId("reach"), overview.reach ?? "");
    setText(byId("verdict"), overview.verdict ?? "");
    const needs = attention(store);
    const worst = needs.length ? Math.min(...needs.map(([, item]) => item.rank)) : 9;
    setAttribute(byId("verdict").parentElement, "data-tone", worst === 0 ? "held" : worst === 1 ? "bad" : worst < 9 ? "warn" : "ok");
    document.title = `${needs.length ? `(${needs.length}) ` : ""}${overview.app ?? "resilient"} · resilient`;
    this.drawSummary(summary(store));
    lists.attention.render(needs, force);
    setText(byId("attention-count"), needs.length ? String(needs.length) : "");
    show(byId("attention-none"), needs.length === 0);
    this.drawDownstreams(force);
    this.drawPanels();
  }

  drawSummary(figures) {
    const list = byId("summary");
    if (list.childElementCount === 0) list.append(...figures.map(([term]) => el("div", {}, el("dt", { text: term }), el("dd"))));
    figures.forEach(([, value, tone], at) => {
      const shown = list.children[at].lastElementChild;
      setText(shown, value);
      setAttribute(shown, "data-tone", tone);
    });
  }

  drawDownstreams(force) {
    const items = chosen(this.view, { filter: byId("filter").value, order: choices.order });
    const cards = choices.view === "cards";
    setAttribute(document.body, "data-view", choices.view);
    const all = this.view.downstreams.size;
    show(byId("cards"), cards);
    show(byId("table"), !cards);
    (cards ? this.lists.cards : this.lists.rows).render(items, force);
    setText(byId("downstreams-count"), items.length === all ? String(all) : `${items.length} of ${all}`);
    setText(byId("nothing"), all ? "No downstream fits the filter." : "No downstream has been called yet.");
    show(byId("nothing"), items.length === 0);
  }

  drawPanels() {
    const { view: store, lists } = this;
    const windows = this.windows ?? [];
    lists.windows.render(windows.map((each) => [each.id, each]));
    setText(byId("windows-count"), windows.length ? String(windows.length) : "");
    show(byId("windows-none"), windows.length === 0);
    const processes = store.overview.processes ?? [];
    lists.processes.render(processes.map((each) => [each.instance, each]));
    setText(byId("processes-count"), String(processes.length));
    lists.activity.render(store.events.slice(0, 12).map((event) => [String(event.seq), event]));
    show(byId("activity-none"), store.events.length === 0);
    setText(byId("audit-head"), auditHead(store.overview.audit_head));
    lists.audit.render((this.audit ?? []).map((entry) => [String(entry.seq), entry]));
  }

  /** What tells that the record has changed: a revision, or a refusal that was only audited. */
  recordOf() {
    return `${this.store.overview?.revision} ${this.store.overview?.audit_head?.seq}`;
  }

  /** Read the audit trail and the windows again. */
  async refreshRecord() {
    this.recordRead = this.recordOf();
    try {
      [this.audit, this.windows] = await Promise.all([api.audit(50), api.windows()]);
      show(byId("audit-refusal"), false);
      this.schedule();
    } catch (error) {
      setText(byId("audit-refusal"), `Not read: ${error.message}`);
      show(byId("audit-refusal"), true);
    }
  }

  /** Tell whether what is shown is fresh, paused or stalled. */
  freshness() {
    const { view, paused } = this;
    const stalled = !paused && view.stalled;
    const banner = byId("banner");
    this.wasStalled = this.store.stalled;
    setAttribute(document.body, "data-fresh", paused ? "paused" : stalled ? "stalled" : null);
    if (paused || stalled) {
      const last = clock(new Date(view.now - view.age * 1000).toISOString(), view.now);
      const because = view.trouble && ` The server says: ${view.trouble}`;
      const why = paused ? "Paused." : `Stalled: nothing new for ${duration(view.age)}.${because}`;
      setText(banner, `${why} This is how it was at ${last}.`);
    }
    show(banner, paused || stalled);
  }

  mode(mode) {
    const words = { connecting: "Connecting", live: "Live", polling: "Polling", lost: "Connection lost, trying again", off: "Signed out" };
    this.linked = mode;
    if (this.paused) return;
    setAttribute(byId("pulse"), "data-mode", mode);
    setText(byId("pulse-text"), words[mode]);
  }

  /** Stand still, or follow again. */
  pause(on) {
    if (on === this.paused) return;
    if (on) this.render();
    this.view = on ? this.store.still() : this.store;
    const button = byId("pause");
    setAttribute(button, "aria-pressed", String(on));
    setText(button, on ? "Resume" : "Pause");
    if (on) {
      setAttribute(byId("pulse"), "data-mode", "off");
      setText(byId("pulse-text"), "Paused");
    } else this.mode(this.linked ?? "connecting");
    this.freshness();
    this.render();
  }

  trip(name, opener) {
    this.tripSheet.open(name, opener);
  }

  /** Ask for what is needed to release a hold: `holdId`, or one of those that are there. */
  release(name, opener, holdId) {
    this.releaseSheet.open(name, opener, holdId);
  }

  /** Put the focus on a downstream, whatever the view and the filter are. */
  goTo(name, clearFilter = true) {
    const list = choices.view === "cards" ? this.lists.cards : this.lists.rows;
    if (!list.get(name) && clearFilter) {
      byId("filter").value = "";
      this.render(true);
    }
    const part = list.get(name);
    if (part) part.focus();
    else byId("downstreams-title").focus();
  }

  headings() {
    const heads = COLUMNS.map(([text, order, kind]) => {
      const inside = order ? el("button", { type: "button", text, on: { click: () => this.sort(order) } }) : text;
      return el("th", { scope: "col", class: kind || null, "data-order": order }, inside);
    });
    if (this.mayOperate) heads.push(el("th", { scope: "col", text: "Actions" }));
    byId("columns").replaceChildren(...heads);
    this.sort(choices.order);
  }

  sort(order) {
    remember("order", order);
    byId("order").value = order;
    const direction = order === "name" ? "ascending" : "descending";
    for (const head of byId("columns").children) setAttribute(head, "aria-sort", head.dataset.order === order ? direction : null);
    this.render(true);
  }
}

/** Return a shell pattern (`*`, `?`, `[...]`) as a regular expression. */
function pattern(text) {
  const parts = text.split(/(\*|\?|\[[^\]]+\])/).map((part, at) => {
    if (at % 2 === 0) return part.replace(/[.+^${}()|[\]\\?*]/g, "\\$&");
    return { "*": "[^]*", "?": "[^]" }[part] ?? part.replace("[!", "[^");
  });
  return new RegExp(`^${parts.join("")}$`);
}

const app = new App();

function listen() {
  byId("signin-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const field = byId("token");
    const token = field.value.trim();
    field.value = "";
    if (token) app.begin(token);
  });
  byId("leave").addEventListener("click", () => app.askForToken(""));
  byId("pause").addEventListener("click", () => app.pause(!app.paused));
  byId("pace").addEventListener("change", ({ target }) => {
    remember("pace", Number(target.value));
    app.render();
  });
  byId("theme").addEventListener("change", ({ target }) => remember("theme", target.value));
  byId("order").addEventListener("change", ({ target }) => app.sort(target.value));
  byId("filter").addEventListener("input", () => app.render(true));
  byId("audit-again").addEventListener("click", () => app.refreshRecord());
  for (const radio of document.querySelectorAll("input[name=view]")) {
    radio.checked = radio.value === choices.view;
    radio.addEventListener("change", () => {
      remember("view", radio.value);
      app.render(true);
    });
  }
  byId("pace").value = String(choices.pace);
  byId("theme").value = choices.theme;
  for (const id of ["cards", "rows", "attention"]) {
    // What was held back while somebody was there can move now.
    byId(id).addEventListener("pointerleave", () => app.schedule());
    byId(id).addEventListener("focusout", () => app.schedule());
  }
  document.addEventListener("visibilitychange", () => app.store.overview && app.live.start());
  window.addEventListener("hashchange", () => {
    const token = api.takeTokenFromAddress();
    if (token) {
      app.leave();
      app.begin(token);
    }
  });
}

listen();
app.begin(api.takeTokenFromAddress());
