// The page of `roc serve`: takes photos in, has them scored a few at a time, and keeps them in order.

import { bytesText, countText, csvText, misplaced, passes, ranks, sorted, unscored } from "./pure.js";
import { NoAnswer, askComment, askModel, askScore } from "./server.js";
import { takeFiles } from "./collect.js";
import { askForKey } from "./key.js";
import { notice, say } from "./notices.js";
import { Card } from "./card.js";
import { Duel } from "./duel.js";
import { Line } from "./line.js";
import { Taste } from "./taste.js";
import { Tools } from "./tools.js";
import { Tray } from "./tray.js";
import { Viewer } from "./viewer.js";
import { find, make } from "./parts.js";

const AT_ONCE = 4;
const CARDS_A_FRAME = 100;

/**
 * A photo: {id, file, name, identity, state, sent, scores, text, textState, error, textError, again, card}.
 *
 * state: waiting, sending, scored, failed. scores: as the server sent them, attribute -> score or null. text: the
 * comment, or null; textState: null, waiting, asked, failed. again: whether trying again may help.
 */
let photos = [];
let model = null;
let lastId = 0;
let removed = [];

const viewer = new Viewer(startComment);
const duel = new Duel(needKey);
const taste = new Taste(needKey);
const tray = new Tray((both) => duel.open(both, model, headline()));
const tools = new Tools({ sorted: sortedBy, changed: draw });
const line = new Line(AT_ONCE, { onHold: tellHold, isAway });
line.hold("model", 0, "");

// The server

function tellHold(hold) {
  if (!hold) return notice("hold", null);
  if (hold.kind === "model") return null;
  if (hold.kind === "key") {
    notice("hold", "Photos can be scored once you enter an API key.", { name: "Enter the key", run: () => needKey() });
    return needKey();
  }
  const what = hold.kind === "busy" ? "The server is busy" : "The server cannot be reached";
  const text = `${what}; trying again in ${hold.wait} s. Nothing is lost.`;
  return notice("hold", text, { name: "Try now", run: () => line.release() });
}

async function isAway() {
  try {
    await askModel();
    return false;
  } catch (error) {
    return error.kind === "away";
  }
}

async function meet() {
  try {
    model = await askModel();
  } catch (error) {
    if (error.kind === "key") {
      tellHold({ kind: "key" });
      return;
    }
    find("model").textContent = error.kind === "away" ? "The server cannot be reached; trying again" : error.message;
    setTimeout(meet, 1000 * (error.wait || 3));
    return;
  }
  const range = `${model.min_score} to ${model.max_score}${model.unit ? ` ${model.unit}` : ""}`;
  const others = Object.entries(model.attribute_ranges ?? {}).map(([name, ends]) => `, ${name} ${ends.join(" to ")}`);
  find("model").textContent = `${model.id}, ${range}${others.join("")}${model.calibrated ? "" : ", spread uncalibrated"}`;
  find("model").title = model.scorer ?? "";
  find("scale").textContent = ` from ${range}`;
  tools.meet(model);
  line.release();
  for (const photo of photos) startScore(photo);
  await draw();
}

let asking = null;

/** Asks for the API key and goes on with it; resolves to whether there is one. */
function needKey() {
  asking ??= askForKey().then((given) => {
    asking = null;
    if (given && model) line.release();
    else if (given) {
      notice("hold", null);
      meet();
    }
    return given;
  });
  return asking;
}

// New photos

/** Waits for the next frame; a page in the background draws none, so a timer takes its place. */
function nextFrame() {
  return new Promise((done) => {
    requestAnimationFrame(done);
    setTimeout(done, 200);
  });
}

async function add({ files, left }) {
  const known = new Set(photos.map((photo) => photo.identity));
  let twice = 0;
  const fresh = [];
  for (const { file, name } of files) {
    const identity = [name, file.size, file.lastModified].join("/");
    if (known.has(identity)) twice += 1;
    else {
      known.add(identity);
      fresh.push(newPhoto(file, name, identity));
    }
  }
  tellLeft(left, twice);
  if (!fresh.length) return;
  removed = [];
  notice("undo", null);
  photos.push(...fresh);
  say(`${countText(fresh.length, "photo")} added`);
  draw();
  if (model) await start(fresh);
}

function newPhoto(file, name, identity) {
  lastId += 1;
  const outcome = { scores: null, text: null, textState: null, error: null, textError: null, again: false };
  return { id: lastId, file, name, identity, state: "waiting", sent: 0, card: null, ...outcome };
}

function tellLeft(left, twice) {
  const texts = [];
  if (twice) texts.push(`${countText(twice, "photo was", "photos were")} already here.`);
  if (left.length) {
    const names = left.slice(0, 5).join(", ") + (left.length > 5 ? " and others" : "");
    texts.push(
      `${countText(left.length, "file is not a photo and was", "files are not photos and were")} left out: ${names}.`,
    );
  }
  notice("left", texts.join(" "));
}

async function start(fresh) {
  for (let index = 0; index < fresh.length; index += CARDS_A_FRAME) {
    for (const photo of fresh.slice(index, index + CARDS_A_FRAME)) startScore(photo);
    await nextFrame();
  }
}

const handlers = {
  open,
  remove: (photo) => remove([photo]),
  compare: (photo) => tray.pick(photo),
  describe: startComment,
  again: tryAgain,
};

function cardOf(photo) {
  photo.card ??= new Card(photo, model, handlers);
  return photo.card;
}

// Scores and comments

/** Says why this file cannot be scored, without sending it; null if it can. */
function unfit(file) {
  const most = Math.min(model.limits?.bytes_per_image ?? Infinity, model.limits?.bytes_per_request ?? Infinity);
  if (file.size === 0) return "The file is empty.";
  if (file.size <= most) return null;
  return `The file is too large: ${bytesText(file.size)}; this server accepts up to ${bytesText(most)}.`;
}

/** Calls `send`; if nobody answers, finds out whether the file is gone from the disk rather than the server. */
async function sendFile(photo, send) {
  try {
    return await send();
  } catch (error) {
    if (error.kind !== "away") throw error;
    try {
      await photo.file.slice(0, 1).arrayBuffer();
    } catch {
      throw new NoAnswer(
        "refused",
        "The file can no longer be read: it was moved, changed or deleted after you chose it.",
      );
    }
    throw error;
  }
}

function startScore(photo) {
  if (photo.state !== "waiting" || photo.gone || photo.queued) return;
  const problem = unfit(photo.file);
  if (problem) {
    failed(photo, problem, false);
    return;
  }
  photo.queued = true;
  const onSent = (share) => {
    photo.sent = share;
    photo.card?.stage();
  };
  line.add({
    photo,
    first: true,
    run: (signal) => {
      [photo.state, photo.sent] = ["sending", 0];
      photo.card?.stage();
      return sendFile(photo, () => askScore(photo, { signal, onSent }));
    },
    waits: () => {
      photo.state = "waiting";
      photo.card?.stage();
    },
    done: (result) => {
      Object.assign(photo, { state: "scored", scores: result.scores, queued: false });
      changed(photo);
      if (find("comments").checked) startComment(photo);
    },
    failed: (error, again) => failed(photo, error.message, again),
  });
}

function failed(photo, message, again) {
  Object.assign(photo, { state: "failed", error: message, again, queued: false });
  changed(photo);
}

function tryAgain(photo) {
  Object.assign(photo, { state: "waiting", sent: 0, error: null, again: false });
  changed(photo);
  startScore(photo);
}

function startComment(photo) {
  if (!model.describe || photo.state !== "scored" || photo.text !== null) return;
  if (photo.textState === "waiting" || photo.textState === "asked") return;
  const tell = (state, change = {}) => {
    Object.assign(photo, change, { textState: state });
    photo.card?.comment();
    viewer.changed(photo);
  };
  tell("waiting");
  line.add({
    photo,
    comment: true,
    run: (signal) => {
      tell("asked");
      return sendFile(photo, () => askComment(photo, { signal }));
    },
    waits: () => tell("waiting"),
    done: (result) => {
      tell(null, { text: result.text || "The model wrote nothing." });
      say(`Comment on ${photo.name}: ${photo.text}`, false);
    },
    failed: (error) => tell("failed", { textError: error.message }),
  });
}

function changed(photo) {
  photo.card?.show(headline());
  viewer.changed(photo);
  draw();
}

// The order

const headline = () => tools.by.attribute;

let drawing = null;
let drawAgain = false;
let pause = 100;

/** Updates the page soon. However often it is called, drawing takes only a small part of the time. */
function draw() {
  if (drawing) {
    drawAgain = true;
    return drawing;
  }
  drawing = (async () => {
    await nextFrame();
    const began = performance.now();
    await drawNow();
    pause = Math.min(2000, Math.max(100, 5 * (performance.now() - began)));
    await new Promise((done) => setTimeout(done, pause));
    drawing = null;
    if (drawAgain) {
      drawAgain = false;
      draw();
    }
  })();
  return drawing;
}

async function drawNow() {
  tellState();
  if (!model) return;
  await makeCards();
  const grid = find("grid");
  const present = [...grid.children];
  const wanted = sorted(photos, tools.by, tools.descending)
    .map((photo) => photo.card?.element)
    .filter(Boolean);
  const focused = document.activeElement;
  const moved = misplaced(present, wanted);
  let after = null;
  for (const element of wanted.toReversed()) {
    if (moved.has(element)) grid.insertBefore(element, after);
    after = element;
  }
  if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
  const places = ranks(photos, headline());
  const passing = tools.filter;
  let shown = 0;
  for (const photo of photos) {
    if (!photo.card) continue;
    photo.card.rank(places.get(photo));
    const is = passes(photo, passing);
    if (photo.card.element.hidden === is) photo.card.element.hidden = !is;
    shown += is;
  }
  find("none").hidden = shown > 0 || !photos.length;
  tools.tellShown(shown, photos.length);
}

async function makeCards() {
  let made = 0;
  for (const photo of [...photos]) {
    if (photo.card || photo.gone) continue;
    find("grid").append(cardOf(photo).element);
    photo.card.show(headline());
    made += 1;
    if (made % CARDS_A_FRAME === 0) await nextFrame();
  }
}

function tellState() {
  document.body.classList.toggle("empty", !photos.length);
  find("work").hidden = !photos.length;
  const done = photos.filter((photo) => photo.state === "scored" || photo.state === "failed").length;
  const without = model ? photos.filter((photo) => unscored(photo, headline())).length : 0;
  const scored = done - without;
  find("progress").max = photos.length || 1;
  find("progress").value = done;
  find("progress").hidden = done === photos.length;
  document.title = done < photos.length ? `${done} of ${photos.length} · roc` : "roc: photos, ranked";
  tools.tellUnscored(without);
  find("again-all").hidden = !photos.some((photo) => photo.again);
  find("download").disabled = !done;
  find("taste-open").disabled = !model?.personal || scored < 3;
  const all = countText(photos.length, "photo");
  const text = model ? `${scored.toLocaleString("en")} of ${all} scored` : `${all} waiting for the server`;
  find("told").textContent = text;
  const problems = without ? `, ${without} without a score` : "";
  if (photos.length && text + problems !== lastSaid) say(text + problems, done === photos.length);
  lastSaid = text + problems;
}
let lastSaid = "";

function sortedBy(name) {
  for (const photo of photos) photo.card?.show(headline());
  say(`Sorted by ${name}`);
  draw();
}

find("again-all").addEventListener("click", () => {
  for (const photo of photos.filter((one) => one.again)) tryAgain(photo);
});
find("comments").addEventListener("change", () => {
  if (find("comments").checked) photos.forEach(startComment);
  else {
    line.drop((job) => job.comment);
    for (const photo of photos) {
      if (photo.textState !== "waiting" && photo.textState !== "asked") continue;
      photo.textState = null;
      photo.card?.comment();
    }
  }
});

// Removing photos

function remove(gone) {
  const leaving = new Set(gone);
  const shown = [...find("grid").children].filter((element) => !element.hidden);
  const last = gone.length === 1 ? shown.indexOf(gone[0].card?.element) : -1;
  const next = shown[last + 1] ?? shown[last - 1];
  line.drop((job) => leaving.has(job.photo));
  if (leaving.has(tray.photo)) tray.empty();
  for (const photo of gone) {
    photo.gone = true;
    photo.queued = false;
    photo.card?.drop();
    photo.card = null;
    if (photo.state === "sending") photo.state = "waiting";
    if (photo.textState !== "failed") photo.textState = null;
  }
  photos = photos.filter((photo) => !leaving.has(photo));
  removed = gone;
  if (gone.length === 1 && next) next.querySelector(".remove").focus();
  else find("choose").focus();
  const what =
    gone.length === 1
      ? `${gone[0].name} was removed.`
      : `${countText(gone.length, "photo was", "photos were")} removed.`;
  notice("undo", what, { name: "Undo", run: bringBack });
  draw();
}

function bringBack() {
  const back = removed;
  removed = [];
  notice("undo", null);
  for (const photo of back) photo.gone = false;
  photos = [...photos, ...back].sort((a, b) => a.id - b.id);
  say(`${countText(back.length, "photo is", "photos are")} back`);
  draw();
  start(back);
  if (find("comments").checked) back.forEach(startComment);
  find("grid-title").focus();
}

find("clear").addEventListener("click", () => {
  tools.reset();
  remove(photos);
});

// Looking at photos

function shownPhotos() {
  const passing = tools.filter;
  return sorted(photos, tools.by, tools.descending).filter((photo) => passes(photo, passing));
}

function open(photo) {
  viewer.open(photo, shownPhotos(), model);
}

// One's own taste

find("taste-open").addEventListener("click", () => taste.open(photos, model));

// Results as a file

find("download").addEventListener("click", () => {
  // The byte order mark at the start tells spreadsheets that this is UTF-8.
  const text = `\uFEFF${csvText(shownPhotos(), model)}`;
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  make("a", { href: url, download: "roc-scores.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
});

addEventListener("beforeunload", (event) => {
  if (photos.some((photo) => photo.state === "waiting" || photo.state === "sending")) event.preventDefault();
});
takeFiles(add);
meet();
