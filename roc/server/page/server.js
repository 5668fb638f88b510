// Requests to the server, and what its answers mean.

import { sentence, waitSeconds } from "./pure.js";

const KEY = "roc-api-key";
let key = null;
try {
  key = sessionStorage.getItem(KEY);
} catch {
  // Storage may be forbidden; the key is then kept until the page is closed.
}

/**
 * Why there is no usable answer.
 *
 * kind: "busy" (try again after `wait` seconds), "key" (an API key is needed), "away" (nobody answered), "broken" (the
 * server failed), "refused" (trying again will not help), "stopped" (by the user).
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
  415: "The server cannot read this kind of file.",
  429: "The server is busy.",
  503: "The server is busy.",
};

function refusal(status, body, header) {
  // An error about one image repeats the message in its details, without the name of the file.
  const details = body?.error?.details;
  const given = (details?.length === 1 && details[0].message) || body?.error?.message;
  const message =
    typeof given === "string" && given ? sentence(given) : WORDS[status] || `The server answered with error ${status}.`;
  if (status === 503 || status === 429) return new NoAnswer("busy", message, waitSeconds(header));
  if (status === 401 || status === 403) return new NoAnswer("key", message);
  return new NoAnswer(status >= 500 || status === 408 ? "broken" : "refused", message);
}

/**
 * Posts a form or a text of JSON, or gets a path if there is none; resolves to the JSON of the answer, rejects with a NoAnswer.
 *
 * signal: stops it. onSent: called with the share of the form that has been sent.
 */
export function ask(path, form = null, { signal = null, onSent = null } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(form ? "POST" : "GET", path);
    request.setRequestHeader("Accept", "application/json");
    if (key) request.setRequestHeader("Authorization", `Bearer ${key}`);
    if (typeof form === "string") request.setRequestHeader("Content-Type", "application/json");
    if (onSent) {
      request.upload.addEventListener("progress", (event) => onSent(event.total ? event.loaded / event.total : 0));
      request.upload.addEventListener("load", () => onSent(1));
    }
    request.addEventListener("load", () => {
      let body = null;
      try {
        body = JSON.parse(request.responseText);
      } catch {
        // A proxy in between may have answered with a page of its own.
      }
      if (request.status === 200 && body) resolve(body);
      else if (request.status === 200) reject(new NoAnswer("broken", "The server's answer could not be read."));
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

/** The model of the server: its scale, its attributes, its limits. */
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
  if (!result) throw new NoAnswer("broken", "The server's answer could not be read.");
  if (result.error) throw new NoAnswer("refused", sentence(result.error.message));
  return result;
}

export const askScore = (photo, settings) => askOne("v1/score", photo, settings);
export const askComment = (photo, settings) => askOne("v1/describe", photo, settings);
export const askRank = (photos, attribute) => ask("v1/rank", photoForm(photos, { attribute }));

/** What the model reads of photos: for each {feature} or {error}. */
export async function askFeatures(photos) {
  return (await ask("v1/features", photoForm(photos, {}))).results ?? [];
}

export const askPersonal = (body) => ask("v1/personalize", JSON.stringify(body));
