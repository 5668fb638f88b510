// Messages: lines above the photos, and texts for screen readers.

import { find, make } from "./parts.js";

const QUIET_MS = 5000;

let timer = null;
let saidAt = 0;

/** Has a screen reader say something. With `atOnce` false, at most every few seconds, and then only the latest text. */
export function say(text, atOnce = true) {
  clearTimeout(timer);
  const wait = atOnce ? 0 : Math.max(0, saidAt + QUIET_MS - Date.now());
  timer = setTimeout(() => {
    saidAt = Date.now();
    find("live").textContent = text;
  }, wait);
}

/** Shows a line above the photos, at most one of each kind; without text, removes it. `action` is {name, run}. */
export function notice(kind, text, action = null) {
  find("notices").querySelector(`[data-kind=${kind}]`)?.remove();
  if (!text) return;
  const element = make("div", { className: "notice" }, make("p", {}, text));
  element.dataset.kind = kind;
  if (action) element.append(make("button", { type: "button", onclick: action.run }, action.name));
  if (kind !== "hold") {
    const close = make("button", { type: "button", className: "plain", onclick: () => notice(kind, null) }, "Dismiss");
    element.append(close);
  }
  find("notices").append(element);
  say(text);
}
