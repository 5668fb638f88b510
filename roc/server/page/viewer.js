// One photo, large, with all its scores.

import { commentText, comparedText, scaleOf, scoreOf, scoreText } from "./pure.js";
import { copyOfBars, drawBars, find, hidePicture, make, showPicture } from "./parts.js";

export class Viewer {
  #photos = [];
  #index = 0;
  #model = null;

  /** describe: called with the photo that the user wants a comment on. */
  constructor(describe) {
    this.dialog = find("viewer");
    find("viewer-describe").addEventListener("click", () => {
      find("viewer-close").focus();
      describe(this.#photos[this.#index]);
    });
    find("viewer-before").addEventListener("click", () => this.#step(-1));
    find("viewer-after").addEventListener("click", () => this.#step(1));
    find("viewer-close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.key === "ArrowLeft") this.#step(-1);
      if (event.key === "ArrowRight") this.#step(1);
    });
    this.dialog.addEventListener("close", () => hidePicture(find("viewer-photo")));
  }

  /** Opens at `photo`; `photos` are those one can step through, in their order. */
  open(photo, photos, model) {
    [this.#photos, this.#index, this.#model] = [photos, photos.indexOf(photo), model];
    this.#show();
    this.dialog.showModal();
  }

  /** Updates the view if it shows `photo`. */
  changed(photo) {
    if (this.dialog.open && this.#photos[this.#index] === photo) this.#tell(photo);
  }

  #step(by) {
    const next = this.#index + by;
    if (next < 0 || next >= this.#photos.length) return;
    this.#index = next;
    this.#show();
  }

  #show() {
    const photo = this.#photos[this.#index];
    showPicture(find("viewer-photo"), photo.file, find("viewer-blank"));
    find("viewer-before").disabled = this.#index === 0;
    find("viewer-after").disabled = this.#index === this.#photos.length - 1;
    if (!this.dialog.contains(document.activeElement) || document.activeElement.disabled) find("viewer-close").focus();
    find("viewer-place").textContent = `${this.#index + 1} of ${this.#photos.length}`;
    this.#tell(photo);
  }

  #tell(photo) {
    find("viewer-name").textContent = photo.name;
    find("viewer-photo").alt = photo.name;
    find("viewer-problem").hidden = photo.state !== "failed";
    find("viewer-problem").textContent = photo.error ?? "";
    const scored = photo.state === "scored";
    const sections = scored ? this.#model.attributes.map((name) => this.#attribute(photo, name)) : [];
    find("viewer-scores").replaceChildren(...sections);
    find("viewer-scorer").hidden = !scored || !this.#model.scorer;
    find("viewer-scorer").textContent = `Scored by ${this.#model.scorer}`;
    find("viewer-note").hidden = !scored || this.#model.calibrated;
    const text = commentText(photo);
    find("viewer-comment").hidden = !text;
    find("viewer-text").textContent = text;
    const asked = photo.textState === "waiting" || photo.textState === "asked";
    find("viewer-describe").hidden = !this.#model.describe || !scored || photo.text !== null || asked;
  }

  #attribute(photo, name) {
    const score = scoreOf(photo, name);
    const scale = scaleOf(this.#model, name);
    const value = make("span", { className: "value" }, scoreText(score?.value, scale));
    const spread = score ? `± ${scoreText(score.std, scale)}` : "no score";
    const section = make(
      "section",
      {},
      make("h3", {}, name),
      make("p", { className: "score" }, value, " ", make("span", { className: "spread" }, spread)),
    );
    const compared = comparedText(score, this.#model, scale);
    if (compared) section.append(make("p", { className: "compared quiet" }, compared));
    if (!score?.distribution) return section;
    const bars = copyOfBars();
    drawBars(bars, score, scale.levels);
    const ends = make("p", { className: "ends quiet" });
    ends.setAttribute("aria-hidden", "true");
    ends.append(make("span", {}, String(scale.min_score)), make("span", {}, String(scale.max_score)));
    section.append(bars, ends);
    return section;
  }
}
