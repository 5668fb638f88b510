// What the page asks of the server, and what an answer means for the work that waits for it.

import { sentence, waitSeconds } from "./pure.js";

const KEY = "roc-api-key";
let key = null;
try {
  key = sessionStorage.getItem(KEY);
} catch {
  // Storage may be forbidden; the key is then kept until the page is left.
}

/**
 * Why there is no answer.
 *
 * kind: "busy" (come again after `wait` seconds), "key" (an API key is needed), "away" (nobody answered), "broken" (the
 * server failed), "refused" (this request will never do), "stopped" (by the user).
 */
export class NoAnswer extends Error {
  constructor(kind, message, wait = 0) {
    super(message);
    this.kind = kind;
    this.wait = wait;
  }
}

export function hasKey() {
  return key !== null;
}

export function keepKey(text) {
  key = text || null;
  try {
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  } catch {
    // As above.
  }
}

const WORDS = {
  413: "The file is too large for this server.",
  415: "This is no kind of picture that the server can read.",
  429: "The server has too much to do.",
  503: "The server has too much to do.",
};

function refusal(status, body, header) {
  // Where it is about one image, the detail says the same without its name.
  const details = body?.error?.details;
  const told = (details?.length === 1 && details[0].message) || body?.error?.message;
  const message =
    typeof told === "string" && told ? sentence(told) : WORDS[status] || `The server answered with error ${status}.`;
  if (status === 503 || status === 429) return new NoAnswer("busy", message, waitSeconds(header));
  if (status === 401 || status === 403) return new NoAnswer("key", message);
  return new NoAnswer(status >= 500 || status === 408 ? "broken" : "refused", message);
}

/**
 * Sends a form, or asks for something where there is none.
 *
 * signal: stops it. onSent: told the share of the form that has left.
 */
export function ask(path, form = null, { signal = null, onSent = null } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(form ? "POST" : "GET", path);
    request.setRequestHeader("Accept", "application/json");
    if (key) request.setRequestHeader("Authorization", `Bearer ${key}`);
    if (onSent) {
      request.upload.addEventListener("progress", (event) => onSent(event.total ? event.loaded / event.total : 0));
      request.upload.addEventListener("load", () => onSent(1));
    }
    request.addEventListener("load", () => {
      let body = null;
      try {
        body = JSON.parse(request.responseText);
      } catch {
        // A proxy in between may answer with a page of its own.
      }
      if (request.status === 200 && body) resolve(body);
      else if (request.status === 200) reject(new NoAnswer("broken", "The answer of the server could not be read."));
      else reject(refusal(request.status, body, request.getResponseHeader("Retry-After")));
    });
    request.addEventListener("error", () => reject(new NoAnswer("away", "The server cannot be reached.")));
    request.addEventListener("abort", () => reject(new NoAnswer("stopped", "Stopped.")));
    if (signal?.aborted) reject(new NoAnswer("stopped", "Stopped."));
    else {
      signal?.addEventListener("abort", () => request.abort());
      request.send(form);
    }
  });
}

/** What the server can do: the first of its models. */
export async function askModel() {
  const models = await ask("v1/models");
  if (!models.data?.length) throw new NoAnswer("broken", "The server has no model.");
  return models.data[0];
}

function photoForm(photos, fields) {
  const form = new FormData();
  for (const photo of photos) form.append("files", photo.file, photo.name);
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  return form;
}

async function askOne(path, photo, settings) {
  const answer = await ask(path, photoForm([photo], { distribution: "true" }), settings);
  const result = answer.results?.[0];
  if (!result) throw new NoAnswer("broken", "The answer of the server could not be read.");
  if (result.error) throw new NoAnswer("refused", sentence(result.error.message));
  return result;
}

export const askScore = (photo, settings) => askOne("v1/score", photo, settings);
export const askComment = (photo, settings) => askOne("v1/describe", photo, settings);
export const askRank = (photos, attribute) => ask("v1/rank", photoForm(photos, { attribute }));
