// The form above the photos: how they are sorted, and which of them are shown.

import { scaleOf, scoreText } from "./pure.js";
import { find, make } from "./parts.js";

const TURNS = {
  name: ["Z to A", "A to Z"],
  added: ["Newest first", "Oldest first"],
  score: ["Highest first", "Lowest first"],
};

export class Tools {
  #model = null;
  #onlyUnscored = false;

  /** on: {sorted, changed}: called after another choice of "Sort by", and after any other change. */
  constructor(on) {
    find("tools").addEventListener("submit", (event) => event.preventDefault());
    find("sort").addEventListener("change", () => {
      this.#setTurn(this.by.kind === "score");
      const { min_score: low, max_score: high } = scaleOf(this.#model, this.by.attribute);
      if (find("minimum").min !== String(low) || find("minimum").max !== String(high)) this.#scaleMinimum();
      on.sorted(find("sort").selectedOptions[0].textContent);
    });
    find("turn").addEventListener("click", () => {
      this.#setTurn(!this.descending);
      on.changed();
    });
    for (const id of ["find", "minimum"]) find(id).addEventListener("input", () => on.changed());
    find("show-unscored").addEventListener("click", () => {
      this.#setOnlyUnscored(!this.#onlyUnscored);
      on.changed();
    });
    find("reset").addEventListener("click", () => {
      this.reset();
      on.changed();
      find("grid-title").focus();
    });
    this.#setTurn(true);
  }

  /** Offers what the model can score. */
  meet(model) {
    this.#model = model;
    find("sort").replaceChildren(
      ...model.attributes.map((name) => make("option", { value: `score:${name}` }, name)),
      make("option", { value: "name" }, "name"),
      make("option", { value: "added" }, "order added"),
    );
    this.#scaleMinimum();
    find("comments-field").hidden = !model.describe;
  }

  /** Gives the slider the range of the attribute that it filters by; it then passes all photos. */
  #scaleMinimum() {
    const { min_score: low, max_score: high } = scaleOf(this.#model, this.by.attribute);
    const slider = find("minimum");
    [slider.min, slider.max, slider.value] = [low, high, low];
  }

  /** How photos are sorted, for `sorted` of pure.js; `attribute` is always the score that cards show large. */
  get by() {
    const [kind, ...attribute] = (find("sort").value || "score").split(":");
    return { kind, attribute: attribute.join(":") || this.#model?.attributes[0] };
  }

  get descending() {
    return find("turn").dataset.down !== "false";
  }

  /** Which photos are shown, for `passes` of pure.js. */
  get filter() {
    const minimum = Number(find("minimum").value);
    const { attribute } = this.by;
    const all = !this.#model || minimum <= scaleOf(this.#model, attribute).min_score;
    return { find: find("find").value, minimum: all ? null : minimum, attribute, unscored: this.#onlyUnscored };
  }

  /** Shows all photos again. */
  reset() {
    find("find").value = "";
    find("minimum").value = find("minimum").min;
    this.#setOnlyUnscored(false);
  }

  /** Updates the button that shows only photos without a score. */
  tellUnscored(count) {
    find("show-unscored").hidden = !count;
    find("show-unscored").textContent = `${count.toLocaleString("en")} without a score`;
    if (!count) this.#setOnlyUnscored(false);
  }

  /** Updates the texts that depend on how many photos are shown. */
  tellShown(shown, all) {
    const some = shown < all;
    if (some) find("told").textContent += `, ${shown.toLocaleString("en")} shown`;
    find("download").textContent = some ? `Download CSV of ${shown.toLocaleString("en")}` : "Download CSV";
    const { attribute, minimum } = this.filter;
    find("minimum-label").textContent = `Minimum ${attribute}`;
    const text = minimum === null ? "none" : scoreText(minimum, scaleOf(this.#model, attribute));
    find("minimum-told").textContent = text;
    find("minimum").setAttribute("aria-valuetext", text);
  }

  #setOnlyUnscored(is) {
    this.#onlyUnscored = is;
    find("show-unscored").setAttribute("aria-pressed", String(is));
  }

  #setTurn(down) {
    find("turn").dataset.down = String(down);
    find("turn").textContent = TURNS[this.by.kind][down ? 0 : 1];
  }
}
