/** How this browser likes the page: theme, view, order and pace. The only thing that is ever stored. */

const KEY = "resilient.view";
const DEFAULTS = { theme: "", view: "cards", order: "attention", pace: 0 };
const ALLOWED = {
  theme: ["", "light", "dark"],
  view: ["cards", "table"],
  order: ["attention", "name", "rate", "errors", "p99"],
  pace: [0, 2, 5, 15, 60],
};

/** What was chosen, now or on an earlier visit. */
export const choices = { ...DEFAULTS };

function load() {
  try {
    const stored = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    for (const [name, allowed] of Object.entries(ALLOWED)) if (allowed.includes(stored[name])) choices[name] = stored[name];
  } catch {
    // No storage, or not ours: the page looks as it does on a first visit.
  }
}

function wear() {
  const root = document.documentElement;
  if (choices.theme) root.dataset.theme = choices.theme;
  else delete root.dataset.theme;
}

/** Take a choice and keep it for the next visit. */
export function remember(name, value) {
  choices[name] = value;
  wear();
  try {
    localStorage.setItem(KEY, JSON.stringify(choices));
  } catch {
    // It lasts as long as the page.
  }
}

load();
wear();
