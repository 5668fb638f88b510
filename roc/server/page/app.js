// The page of `roc serve`: takes photos in, has them scored a few at a time, and keeps them in order.

import { bytesText, countText, csvText, fitsHeader, misplaced, passes } from "./pure.js";
import { ranks, scoreText, sorted, unscored } from "./pure.js";
import { NoAnswer, askComment, askModel, askScore, hasKey, keepKey } from "./server.js";
import { fromList, fromTransfer } from "./collect.js";
import { Card } from "./card.js";
import { Duel } from "./duel.js";
import { Line } from "./line.js";
import { Viewer } from "./viewer.js";
import { find, hidePicture, make, showPicture } from "./parts.js";

const AT_ONCE = 4;
const CARDS_A_FRAME = 100;

/**
 * A photo: {id, file, name, identity, state, sent, scores, text, textState, error, textError, again, card}.
 *
 * state: waiting, sending, scored, failed. scores: as the server gave them, attribute -> score or null. text: the
 * comment, or null; textState: null, waiting, asked, failed. again: whether trying once more may help.
 */
let photos = [];
let model = null;
let picked = null;
let onlyUnscored = false;
let lastId = 0;
let removed = [];

const viewer = new Viewer(startComment);
const duel = new Duel(needKey);
const line = new Line(AT_ONCE, { onHold: tellHold, isAway });
line.hold("model", 0, "");

// What is said

let sayTimer = null;
let saidAt = 0;

/** Has a screen reader say something; where much happens, only the last of it. */
function say(text, atOnce = true) {
  clearTimeout(sayTimer);
  const wait = atOnce ? 0 : Math.max(0, saidAt + 5000 - Date.now());
  sayTimer = setTimeout(() => {
    saidAt = Date.now();
    find("live").textContent = text;
  }, wait);
}

/** A line above the photos, one of each kind; without text, takes it away. */
function notice(kind, text, action = null) {
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

function tellHold(hold) {
  if (!hold) return notice("hold", null);
  if (hold.kind === "model") return null;
  if (hold.kind === "key") {
    notice("hold", "An API key is needed before anything can be scored.", {
      name: "Enter the key",
      run: () => needKey(),
    });
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

// The server

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
  const range = `${model.min_score} to ${model.max_score}`;
  find("model").textContent = `${model.id}, ${range}${model.calibrated ? "" : ", spread uncalibrated"}`;
  find("scale").textContent = ` from ${range}`;
  const options = model.attributes.map((name) => make("option", { value: `score:${name}` }, name));
  find("sort").replaceChildren(
    ...options,
    make("option", { value: "name" }, "name"),
    make("option", { value: "added" }, "order added"),
  );
  find("minimum").min = find("minimum").value = model.min_score;
  find("minimum").max = model.max_score;
  find("comments-field").hidden = !model.describe;
  line.release();
  for (const photo of photos) startScore(photo);
  await draw();
}

let keyAsked = null;

/** Asks for the API key; true once there is one. */
function needKey() {
  keyAsked ??= new Promise((answer) => {
    find("key-problem").textContent = "The server did not accept this key.";
    find("key-problem").hidden = !hasKey();
    find("key-text").value = "";
    find("key").showModal();
    find("key").addEventListener("close", () => answer(find("key").returnValue === "given"), { once: true });
  }).then((given) => {
    keyAsked = null;
    find("key").returnValue = "";
    if (!given) return false;
    if (model) line.release();
    else {
      notice("hold", null);
      meet();
    }
    return true;
  });
  return keyAsked;
}

find("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = find("key-text").value.trim();
  if (!fitsHeader(key)) {
    find("key-problem").textContent =
      "This is no API key: it may hold only letters from A to Z, digits and signs. Copy it again.";
    find("key-problem").hidden = false;
    return;
  }
  keepKey(key);
  find("key").close("given");
});
find("key-cancel").addEventListener("click", () => find("key").close());

// Photos come

/** A page in the background draws no frames, but its work goes on. */
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
  const told = [];
  if (twice) told.push(`${countText(twice, "photo was", "photos were")} here already.`);
  if (left.length) {
    const names = left.slice(0, 5).join(", ") + (left.length > 5 ? " and others" : "");
    told.push(
      `${countText(left.length, "file is no photo and was", "files are no photos and were")} left out: ${names}.`,
    );
  }
  notice("left", told.join(" "));
}

async function start(fresh) {
  for (let index = 0; index < fresh.length; index += CARDS_A_FRAME) {
    for (const photo of fresh.slice(index, index + CARDS_A_FRAME)) startScore(photo);
    await nextFrame();
  }
}

const handlers = { open, remove: (photo) => remove([photo]), compare: pick, describe: startComment, again: tryAgain };

function cardOf(photo) {
  photo.card ??= new Card(photo, model, handlers);
  return photo.card;
}

// Scores and comments come

/** Why this file need not be sent, or null. */
function unfit(file) {
  const most = Math.min(model.limits?.bytes_per_image ?? Infinity, model.limits?.bytes_per_request ?? Infinity);
  if (file.size === 0) return "The file is empty.";
  if (file.size > most) return `The file has ${bytesText(file.size)}; this server takes up to ${bytesText(most)}.`;
  return null;
}

/** `send`, but a file that is gone from the disk is told apart from a server that is gone. */
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
        "The file can no longer be read: it was moved, changed or deleted after it was chosen.",
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

function by() {
  const [kind, ...attribute] = (find("sort").value || "score").split(":");
  return { kind, attribute: attribute.join(":") || model?.attributes[0] };
}

const headline = () => by().attribute;
const descending = () => find("turn").dataset.down !== "false";

function filter() {
  const minimum = Number(find("minimum").value);
  const all = !model || minimum <= model.min_score;
  return { find: find("find").value, minimum: all ? null : minimum, attribute: headline(), unscored: onlyUnscored };
}

let drawing = null;
let drawAgain = false;
let pause = 100;

/** Brings the page in line with the photos, soon; however often it is asked for, a small part of the time. */
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
  const wanted = sorted(photos, by(), descending())
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
  const passing = filter();
  let shown = 0;
  for (const photo of photos) {
    if (!photo.card) continue;
    photo.card.rank(places.get(photo));
    const is = passes(photo, passing);
    if (photo.card.element.hidden === is) photo.card.element.hidden = !is;
    shown += is;
  }
  find("none").hidden = shown > 0 || !photos.length;
  tellShown(shown);
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
  find("show-unscored").hidden = !without;
  find("show-unscored").textContent = `${without.toLocaleString("en")} without a score`;
  find("again-all").hidden = !photos.some((photo) => photo.again);
  if (!without) setOnlyUnscored(false);
  find("download").disabled = !done;
  const all = countText(photos.length, "photo");
  const told = model ? `${scored.toLocaleString("en")} of ${all} scored` : `${all} waiting for the server`;
  find("told").textContent = told;
  const problems = without ? `, ${without} without a score` : "";
  if (photos.length && told + problems !== lastTold) say(told + problems, done === photos.length);
  lastTold = told + problems;
}
let lastTold = "";

function tellShown(shown) {
  if (shown < photos.length) find("told").textContent += `, ${shown.toLocaleString("en")} shown`;
  find("download").textContent =
    shown < photos.length ? `Download CSV of ${shown.toLocaleString("en")}` : "Download CSV";
  find("minimum-label").textContent = `Minimum ${headline()}`;
  const { minimum } = filter();
  const words = minimum === null ? "none" : scoreText(minimum, model);
  find("minimum-told").textContent = words;
  find("minimum").setAttribute("aria-valuetext", words);
}

function setOnlyUnscored(is) {
  onlyUnscored = is;
  find("show-unscored").setAttribute("aria-pressed", String(is));
}

function setTurn(down) {
  find("turn").dataset.down = String(down);
  const words = {
    name: ["Z to A", "A to Z"],
    added: ["Last first", "First first"],
    score: ["Highest first", "Lowest first"],
  };
  find("turn").textContent = words[by().kind][down ? 0 : 1];
}

find("tools").addEventListener("submit", (event) => event.preventDefault());
find("sort").addEventListener("change", () => {
  setTurn(by().kind === "score");
  for (const photo of photos) photo.card?.show(headline());
  say(`Sorted by ${find("sort").selectedOptions[0].textContent}`);
  draw();
});
find("turn").addEventListener("click", () => {
  setTurn(!descending());
  draw();
});
for (const id of ["find", "minimum"]) find(id).addEventListener("input", draw);
find("show-unscored").addEventListener("click", () => {
  setOnlyUnscored(!onlyUnscored);
  draw();
});
find("again-all").addEventListener("click", () => {
  for (const photo of photos.filter((one) => one.again)) tryAgain(photo);
});
find("reset").addEventListener("click", () => {
  find("find").value = "";
  find("minimum").value = find("minimum").min;
  setOnlyUnscored(false);
  draw();
  find("grid-title").focus();
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

// Photos go

function remove(gone) {
  const leaving = new Set(gone);
  const shown = [...find("grid").children].filter((element) => !element.hidden);
  const last = gone.length === 1 ? shown.indexOf(gone[0].card?.element) : -1;
  const next = shown[last + 1] ?? shown[last - 1];
  line.drop((job) => leaving.has(job.photo));
  if (leaving.has(picked)) unpick();
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
  find("find").value = "";
  find("minimum").value = find("minimum").min;
  setOnlyUnscored(false);
  remove(photos);
});

// Looking and comparing

function shownPhotos() {
  const passing = filter();
  return sorted(photos, by(), descending()).filter((photo) => passes(photo, passing));
}

function open(photo) {
  viewer.open(photo, shownPhotos(), model);
}

function pick(photo) {
  if (picked === photo) {
    unpick();
    say("Comparison cancelled");
    return;
  }
  if (!picked) {
    picked = photo;
    photo.card.picked(true);
    find("tray-name").textContent = photo.name;
    showPicture(find("tray-photo"), photo.file, make("span"));
    find("tray").hidden = false;
    say(`${photo.name} picked. Pick another photo to compare it with.`);
    return;
  }
  const first = picked;
  unpick();
  duel.open([first, photo], model, headline());
}

function unpick() {
  picked?.card?.picked(false);
  picked = null;
  hidePicture(find("tray-photo"));
  find("tray").hidden = true;
}

find("tray-cancel").addEventListener("click", () => {
  const { card } = picked;
  unpick();
  card.part("compare").focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && picked && !document.querySelector("dialog[open]")) find("tray-cancel").click();
});

// The file of results

find("download").addEventListener("click", () => {
  // The mark at the beginning tells spreadsheets that this is UTF-8.
  const text = `\uFEFF${csvText(shownPhotos(), model)}`;
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  make("a", { href: url, download: "roc-scores.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
});

// The doors

for (const [button, input] of [
  ["choose", "files"],
  ["choose-folder", "folder"],
]) {
  find(button).addEventListener("click", () => find(input).click());
  find(input).addEventListener("change", () => {
    const found = fromList(find(input).files);
    find(input).value = "";
    add(found);
  });
}

const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
let inside = 0;
function dragging(is) {
  inside = Math.max(0, is === null ? 0 : inside + is);
  document.body.classList.toggle("dragging", inside > 0);
}
addEventListener("dragenter", (event) => holdsFiles(event) && dragging(1));
addEventListener("dragleave", (event) => holdsFiles(event) && dragging(-1));
addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
addEventListener("drop", async (event) => {
  dragging(null);
  if (!holdsFiles(event)) return;
  event.preventDefault();
  add(await fromTransfer(event.dataTransfer));
});
addEventListener("paste", async (event) => {
  if (!event.clipboardData?.files.length) return;
  event.preventDefault();
  add(await fromTransfer(event.clipboardData));
});
addEventListener("beforeunload", (event) => {
  if (photos.some((photo) => photo.state === "waiting" || photo.state === "sending")) event.preventDefault();
});

setTurn(true);
meet();
