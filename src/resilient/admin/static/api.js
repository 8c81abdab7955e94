/** The admin API: addresses relative to the page, the token in memory only, refusals as `Problem`. */

let token = "";

/** Keep a token for the requests that follow; "" forgets it. */
export function setToken(text) {
  token = text;
}

/** Take `#token=...` out of the address before anything else can see or keep it; return it, or "". */
export function takeTokenFromAddress() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (found === null) return "";
  history.replaceState(null, "", location.pathname + location.search);
  return found.trim();
}

/** A refusal of the API, with what its problem+json says. */
export class Problem extends Error {
  constructor(status, body, retryAfter) {
    super(body.detail || body.title || `The server answered ${status}.`);
    this.status = status;
    this.body = body;
    this.retryAfter = retryAfter;
  }
}

/** Send a request; return the response, or throw a `Problem` (refused) or a TypeError (not reached). */
export async function send(path, { method = "GET", body, headers = {}, signal } = {}) {
  const all = { Accept: "application/json", ...headers };
  if (token) all.Authorization = `Bearer ${token}`;
  if (method !== "GET") all["X-Resilient-Client"] = "dashboard";
  if (body !== undefined) all["Content-Type"] = "application/json";
  const response = await fetch(path, {
    method,
    headers: all,
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
    cache: "no-store",
    credentials: "same-origin",
    redirect: "error",
    referrerPolicy: "no-referrer",
  });
  if (response.ok || response.status === 304) return response;
  let problem = {};
  try {
    problem = await response.json();
  } catch {
    // An answer of something in between, without a body that we know.
  }
  throw new Problem(response.status, problem, Number(response.headers.get("Retry-After")) || 0);
}

const json = async (...request) => (await send(...request)).json();
const of = (name) => `v1/downstreams/${encodeURIComponent(name)}`;

/** Who we are to the server, and how far it reaches. */
export const whoami = () => json("v1");

const items = async (path) => (await json(path)).items;

/** The last entries of the audit trail, newest first. */
export const audit = (limit) => items(`v1/audit?limit=${limit}`);

/** The last events, oldest first. */
export const events = (limit) => items(`v1/events?limit=${limit}`);

/** The maintenance windows that have not ended. */
export const windows = () => items("v1/windows");

/** Place a hold (or, with `dryRun`, only ask what it would do). `etag` is the state that the operator saw. */
export function place(name, hold, { etag, dryRun = false }) {
  const query = dryRun ? "?dry_run=true" : "?wait=2s";
  return json(`${of(name)}/hold${query}`, { method: "PUT", body: hold, headers: etag ? { "If-Match": `"${etag}"` } : {} });
}

/** Release a hold by its id. */
export function release(holdId, reason) {
  return json(`v1/holds/${encodeURIComponent(holdId)}?${new URLSearchParams({ reason, wait: "2s" })}`, { method: "DELETE" });
}
