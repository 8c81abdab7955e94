/** Numbers, durations and times as people read them. Durations are seconds; clocks show UTC. */

const NONE = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { maximumFractionDigits: 1, minimumFractionDigits: 1 });

const missing = (value) => value === null || value === undefined || Number.isNaN(value);

/** 118.4 -> "118", 3.25 -> "3.3". */
export function number(value) {
  if (missing(value)) return NONE;
  return Number.isInteger(value) || Math.abs(value) >= 100 ? whole.format(value) : tenth.format(value);
}

/** A rate per second. */
export const rate = (value) => (missing(value) ? NONE : `${number(value)}/s`);

/** A share 0..1 as percent; what is small but there is never shown as nothing. */
export function share(value) {
  if (missing(value)) return NONE;
  const percent = value * 100;
  if (percent > 0 && percent < 0.1) return "<0.1%";
  return percent === 0 || percent >= 10 ? `${whole.format(percent)}%` : `${tenth.format(percent)}%`;
}

/** A latency: milliseconds below one second. */
export function latency(seconds) {
  if (missing(seconds)) return NONE;
  if (seconds < 0.001) return "<1 ms";
  if (seconds < 0.01) return `${tenth.format(seconds * 1000)} ms`;
  if (seconds < 1) return `${whole.format(seconds * 1000)} ms`;
  return seconds < 10 ? `${seconds.toFixed(2)} s` : `${tenth.format(seconds)} s`;
}

/** A length of time in the two units that matter: "45 s", "14 min", "2 h 5 min", "3 d 4 h". */
export function duration(seconds) {
  if (missing(seconds)) return NONE;
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  const minutes = Math.floor(s / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return hours % 24 ? `${Math.floor(hours / 24)} d ${hours % 24} h` : `${Math.floor(hours / 24)} d`;
}

/** What is left, to the second: "0:45", "24:31", "2:05:00". */
export function countdown(seconds) {
  if (missing(seconds)) return NONE;
  const s = Math.max(0, Math.ceil(seconds));
  const two = (n) => String(n).padStart(2, "0");
  const minutes = Math.floor(s / 60) % 60;
  const hours = Math.floor(s / 3600);
  return hours ? `${hours}:${two(minutes)}:${two(s % 60)}` : `${minutes}:${two(s % 60)}`;
}

/** An ISO time as "03:40:12 UTC", or without the seconds; with the date unless it is today's (`now`: ms since 1970). */
export function clock(iso, now, seconds = true) {
  const at = new Date(iso);
  if (missing(iso) || Number.isNaN(at.getTime())) return NONE;
  const text = at.toISOString();
  const today = new Date(now).toISOString().slice(0, 10);
  return text.slice(0, 10) === today ? `${text.slice(11, seconds ? 19 : 16)} UTC` : `${text.slice(0, 10)} ${text.slice(11, 16)} UTC`;
}

/** An ISO time in full: "2026-11-05 03:40:12 UTC". */
export function full(iso) {
  const at = new Date(iso);
  return Number.isNaN(at.getTime()) ? NONE : `${at.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** "14 min ago", "in 2 h": about, and relative to `now` (ms since 1970). */
export function relative(iso, now) {
  const seconds = (now - Date.parse(iso)) / 1000;
  if (Number.isNaN(seconds)) return NONE;
  if (Math.abs(seconds) < 2) return "just now";
  const [about] = duration(Math.abs(seconds)).match(/^\S+ \S+/);
  return seconds > 0 ? `${about} ago` : `in ${about}`;
}

/** "1 process", "4 processes". */
export const count = (n, one, many = `${one}s`) => `${whole.format(n)} ${n === 1 ? one : many}`;

/** "a", "a and b", "a, b and c". */
export function listing(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}
