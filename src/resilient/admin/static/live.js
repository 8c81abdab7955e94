/** The live feed: a stream read through `fetch`, with backoff, resumption, and polling where a stream is not to be had. */

import { Problem, send } from "./api.js";

const POLL = 2_000; // ms between polls
const FAILURES_BEFORE_POLLING = 3;
const STREAM_AGAIN = 30_000; // ms of polling before the stream is tried again
const LONGEST_PAUSE = 20_000; // ms

/** Read server-sent events out of a text that comes in pieces. */
export class EventParser {
  constructor(onFrame) {
    this.onFrame = onFrame;
    this.rest = "";
    this.clear();
  }

  clear() {
    this.name = "message";
    this.data = [];
  }

  /** Take the next piece; frames that are complete are handed on. */
  feed(text) {
    const lines = (this.rest + text).split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop();
    for (const line of lines) this.line(line);
  }

  line(line) {
    if (line.startsWith(":")) return this.onFrame({ name: "beat", data: "null" });
    if (line === "") {
      if (this.data.length) this.onFrame({ name: this.name, data: this.data.join("\n"), id: this.id, retry: this.retry });
      return this.clear();
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.name = value;
    else if (field === "data") this.data.push(value);
    else if (field === "id") this.id = value;
    else if (field === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
  }
}

/** Keep the page fed until stopped. */
export class Live {
  /**
   * @param {object} hooks
   * @param {(name: string, data: any) => void} hooks.onFrame "snapshot", "delta", "event" or "problem" with its data;
   *   "beat" says that there is nothing new
   * @param {(mode: "connecting"|"live"|"polling"|"lost") => void} hooks.onMode
   * @param {(problem: Problem) => void} hooks.onDenied the token is not (or no longer) accepted
   */
  constructor(hooks) {
    this.hooks = hooks;
    this.round = 0; // whoever belongs to an older round has been stopped
    this.lastId = "";
  }

  start() {
    this.stop();
    this.run((this.round += 1));
  }

  stop() {
    this.round += 1;
    this.abort?.abort();
    this.wake?.();
  }

  async run(round) {
    let failures = 0;
    while (round === this.round) {
      try {
        if (document.hidden || failures >= FAILURES_BEFORE_POLLING) {
          await this.poll(round);
          failures = FAILURES_BEFORE_POLLING - 1; // one more try of the stream
          continue;
        }
        this.hooks.onMode(failures ? "lost" : "connecting");
        await this.stream(round, () => (failures = 0));
        failures += 1;
      } catch (error) {
        if (round !== this.round) return;
        if (error instanceof Problem && (error.status === 401 || error.status === 403)) {
          this.round += 1;
          return this.hooks.onDenied(error);
        }
        const refused = error instanceof Problem && failures < FAILURES_BEFORE_POLLING;
        failures = refused ? FAILURES_BEFORE_POLLING : failures + 1;
        if (refused) continue; // a server that has no stream to give still answers a poll
        this.retryAfter = error.retryAfter;
        if (error instanceof Problem) this.hooks.onFrame("problem", { detail: error.message });
      }
      if (round !== this.round) return;
      this.hooks.onMode("lost");
      await this.pause(this.delay(failures, this.retryAfter));
    }
  }

  /** Double the wait with each failure, spread by half, so that pages do not come back all at once. */
  delay(failures, retryAfter = 0) {
    this.retryAfter = 0;
    const wait = Math.min(LONGEST_PAUSE, (this.retry ?? 500) * 2 ** Math.min(failures - 1, 6));
    return Math.max(wait * (0.5 + Math.random() * 0.5), retryAfter * 1000);
  }

  async stream(round, onAlive) {
    const headers = { Accept: "text/event-stream" };
    if (this.lastId) headers["Last-Event-ID"] = this.lastId;
    this.abort = new AbortController();
    const abort = this.abort;
    const response = await send("v1/stream", { headers, signal: abort.signal });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const parser = new EventParser((frame) => this.frame(frame));
    this.hooks.onMode("live");
    let silent;
    const watch = () => {
      clearTimeout(silent); // a stream that says nothing, not even a heartbeat, is dead: begin anew
      silent = setTimeout(() => abort.abort(), 20_000);
    };
    try {
      for (watch(); ; watch()) {
        const { value, done } = await reader.read();
        if (done || round !== this.round) return;
        onAlive();
        parser.feed(value);
      }
    } finally {
      clearTimeout(silent);
      reader.cancel().catch(() => {});
    }
  }

  frame({ name, data, id, retry }) {
    if (id) this.lastId = id;
    if (retry) this.retry = retry;
    this.hooks.onFrame(name, JSON.parse(data));
  }

  /** Poll, for the time being; a hidden page polls slowly and leaves its connection to others. */
  async poll(round) {
    const until = performance.now() + STREAM_AGAIN;
    let etag = "";
    while (round === this.round && (document.hidden || performance.now() < until)) {
      this.abort = new AbortController();
      const headers = etag ? { "If-None-Match": etag } : {};
      const response = await send("v1/snapshot", { headers, signal: this.abort.signal });
      if (round !== this.round) return;
      this.hooks.onMode("polling");
      if (response.status === 304) this.hooks.onFrame("beat", null);
      else {
        etag = response.headers.get("ETag") ?? "";
        this.hooks.onFrame("snapshot", await response.json());
      }
      await this.pause(document.hidden ? 5 * POLL : POLL);
    }
  }

  pause(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
