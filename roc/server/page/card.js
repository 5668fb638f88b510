// The card of one photo: its thumbnail, its progress, its scores, its buttons.

import { commentText, comparedText, percentText, scaleOf, scoreOf, scoreText } from "./pure.js";
import { drawBars, find, hidePicture, make, showPicture } from "./parts.js";
import { thumbnail } from "./thumbnail.js";

const near = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      const card = cards.get(target);
      if (!card) continue;
      card.near = isIntersecting;
      if (isIntersecting)
        thumbnail(
          card.photo,
          () => card.near,
          (file) => showPicture(card.image, file, card.blank),
        );
      else hidePicture(card.image);
    }
  },
  { rootMargin: "600px 0px" },
);
const cards = new WeakMap();

/** Says what is happening to a photo that has no score yet. */
function stageText(photo) {
  if (photo.state === "sending") return photo.sent < 1 ? `Sending ${percentText(photo.sent)}` : "Scoring";
  return "Waiting";
}

export class Card {
  /** on: {open, remove, compare, describe, again}, each called with the photo. */
  constructor(photo, model, on) {
    this.photo = photo;
    this.near = false;
    this.model = model;
    this.element = find("card").content.firstElementChild.cloneNode(true);
    const part = (name) => this.element.querySelector(`.${name}`);
    this.part = part;
    this.image = part("open").firstElementChild;
    this.blank = part("blank");
    part("name").textContent = photo.name;
    part("name").title = photo.name;
    const labels = { open: "Open", remove: "Remove", compare: "Compare", describe: "Comment on", again: "Try again:" };
    for (const [name, label] of Object.entries(labels)) {
      part(name).setAttribute("aria-label", `${label} ${photo.name}`);
      part(name).addEventListener("click", () => on[name](photo));
    }
    cards.set(this.element, this);
    near.observe(this.element);
    this.stage();
  }

  /** Removes the card and lets go of its picture. */
  drop() {
    near.unobserve(this.element);
    this.near = false;
    hidePicture(this.image);
    this.element.remove();
  }

  /** Shows the progress while the photo waits, is sent and is scored. */
  stage() {
    const { photo } = this;
    const going = photo.state === "waiting" || photo.state === "sending";
    this.element.dataset.state = photo.state;
    this.part("going").hidden = !going;
    if (!going) return;
    for (const name of ["problem", "scored", "compare"]) this.part(name).hidden = true;
    this.#hide("again", true);
    this.part("stage-told").textContent = stageText(photo);
    const progress = this.part("stage-progress");
    progress.hidden = photo.state === "waiting";
    progress.setAttribute("aria-label", `${stageText(photo)} ${photo.name}`);
    if (photo.sent < 1) progress.value = photo.sent;
    else progress.removeAttribute("value");
  }

  /** Shows the outcome; the score of `attribute` is the large one. */
  show(attribute) {
    const { photo, model } = this;
    this.stage();
    this.part("problem").hidden = photo.state !== "failed";
    this.part("problem").textContent = photo.error ?? "";
    this.#hide("again", !photo.again);
    this.part("scored").hidden = photo.state !== "scored";
    this.part("compare").hidden = photo.state !== "scored";
    this.comment();
    if (photo.state !== "scored") return;
    const score = scoreOf(photo, attribute);
    const scale = scaleOf(model, attribute);
    this.part("which").textContent = attribute === model.attributes[0] ? "" : attribute;
    this.part("value").textContent = scoreText(score?.value, scale);
    this.part("value").dataset.value = score ? score.value : "";
    this.part("spread").textContent = score ? `± ${scoreText(score.std, scale)}` : "no score";
    const compared = comparedText(score, model, scale);
    this.part("compared").textContent = compared;
    this.part("compared").hidden = !compared;
    for (const name of ["bars", "ends"]) this.part(name).toggleAttribute("hidden", !score?.distribution);
    if (score?.distribution) drawBars(this.part("bars"), score, scale.levels);
    this.part("low").textContent = scale.min_score;
    this.part("high").textContent = scale.max_score;
    this.part("uncalibrated").hidden = model.calibrated;
    const others = model.attributes.filter((name) => name !== attribute);
    this.part("parts").replaceChildren(...others.map((name) => this.#other(name)));
  }

  #other(name) {
    const score = scoreOf(this.photo, name);
    const scale = scaleOf(this.model, name);
    const { min_score: low, max_score: high } = scale;
    const filled = make("span");
    filled.style.width = `${score ? (100 * (score.value - low)) / (high - low) : 0}%`;
    const track = make("span", { className: "track" }, filled);
    track.setAttribute("aria-hidden", "true");
    const value = make("dd", {}, scoreText(score?.value, scale));
    value.dataset.value = score ? score.value : "";
    return make("div", {}, make("dt", {}, name), track, value);
  }

  /** Shows the comment, or the button that asks for one. */
  comment() {
    const { photo } = this;
    const text = commentText(photo);
    this.part("comment").hidden = !text;
    this.part("comment").textContent = text;
    this.part("comment").classList.toggle("quiet", photo.text === null);
    const can = this.model.describe && photo.state === "scored" && photo.text === null;
    this.#hide("describe", !can || photo.textState === "waiting" || photo.textState === "asked");
  }

  /** Hides or shows a button; a hidden one passes the focus on to another button of the card. */
  #hide(name, is) {
    if (is && document.activeElement === this.part(name)) this.part("open").focus({ preventScroll: true });
    this.part(name).hidden = is;
  }

  rank(place) {
    const text = place ? String(place) : "";
    const rank = this.part("rank");
    if (rank.textContent === text) return;
    rank.textContent = text;
    rank.hidden = !place;
  }

  picked(is) {
    this.element.classList.toggle("picked", is);
    this.part("compare").setAttribute("aria-pressed", String(is));
  }
}
