// Two photos side by side: which one scores higher, and how certain that is.

import { percentText, scaleOf, scoreText, verdict } from "./pure.js";
import { askRank } from "./server.js";
import { copyOfBars, drawBars, find, hidePicture, make, showPicture } from "./parts.js";

const UNCALIBRATED =
  "Uncalibrated: this model learned from average scores only. " +
  "Trust which photo is ahead, but not the percentage.";

export class Duel {
  #photos = [];
  #asked = 0;
  #model = null;
  #timer = null;

  /** needKey: called when the server asks for an API key; resolves to whether there is one now. */
  constructor(needKey) {
    this.needKey = needKey;
    this.dialog = find("duel");
    find("duel-close").addEventListener("click", () => this.dialog.close());
    find("duel-attribute").addEventListener("change", () => this.#ask());
    this.dialog.addEventListener("close", () => {
      this.#asked += 1;
      clearTimeout(this.#timer);
      for (const side of ["first", "second"]) hidePicture(find(`duel-${side}`).querySelector("img"));
    });
  }

  /** Opens with two photos, at first judged by `attribute`. */
  open(photos, model, attribute) {
    [this.#photos, this.#model] = [photos, model];
    const choice = find("duel-attribute");
    choice.replaceChildren(...model.attributes.map((name) => make("option", { value: name }, name)));
    choice.value = attribute;
    find("duel-by").hidden = model.attributes.length < 2;
    ["first", "second"].forEach((side, index) => {
      const figure = find(`duel-${side}`);
      const image = figure.querySelector("img");
      showPicture(image, photos[index].file, figure.querySelector(".blank"));
      image.alt = photos[index].name;
    });
    this.dialog.showModal();
    this.#ask();
  }

  async #ask() {
    clearTimeout(this.#timer);
    const asked = ++this.#asked;
    const attribute = find("duel-attribute").value;
    this.#tell("Comparing");
    this.#photos.forEach((photo, index) => this.#caption(index, photo.scores?.[attribute]));
    try {
      const answer = await askRank(this.#photos, attribute);
      if (asked === this.#asked) this.#show(answer, attribute);
    } catch (error) {
      if (asked === this.#asked) this.#failed(error);
    }
  }

  async #failed(error) {
    const asked = this.#asked;
    if (error.kind === "busy") {
      this.#tell(`The server is busy; trying again in ${error.wait} s`);
      this.#timer = setTimeout(() => this.#ask(), error.wait * 1000);
    } else if (error.kind === "key") {
      this.#tell("An API key is needed");
      if ((await this.needKey(error.message)) && asked === this.#asked) this.#ask();
    } else this.#tell(error.message ?? String(error));
  }

  #tell(text) {
    find("duel-verdict").textContent = text;
    find("duel-odds").hidden = find("duel-note").hidden = true;
    for (const side of ["first", "second"]) find(`duel-${side}`).classList.remove("winner");
  }

  #show(answer, attribute) {
    answer.results?.forEach((result, index) => {
      const [known, found] = [this.#photos[index].scores?.[attribute], result.scores?.[attribute]];
      this.#caption(index, found ? { ...known, ...found } : null);
    });
    const share = answer.win_probability?.[0]?.[1];
    const unread = answer.results?.find((result) => result.error);
    if (typeof share !== "number") {
      this.#tell(unread ? unread.error.message : `The model gave one of the two no ${attribute} score.`);
      return;
    }
    this.#tell(verdict(share, this.#photos[0].name, this.#photos[1].name, answer.calibrated));
    if (share !== 0.5) find(share > 0.5 ? "duel-first" : "duel-second").classList.add("winner");
    find("duel-odds").hidden = false;
    find("duel-first-odds").textContent = percentText(share);
    find("duel-first-odds").dataset.value = share;
    find("duel-second-odds").textContent = percentText(1 - share);
    find("duel-share").style.width = `${share * 100}%`;
    find("duel-note").hidden = answer.calibrated;
    find("duel-note").textContent = UNCALIBRATED;
  }

  #caption(index, score) {
    const caption = find(index ? "duel-second" : "duel-first").querySelector("figcaption");
    const scale = scaleOf(this.#model, find("duel-attribute").value);
    caption.replaceChildren(make("span", { className: "name" }, this.#photos[index].name));
    if (!score) return;
    const value = make("span", { className: "value" }, scoreText(score.value, scale));
    const spread = make("span", { className: "spread" }, `± ${scoreText(score.std, scale)}`);
    caption.append(make("span", { className: "score" }, value, " ", spread));
    if (!score.distribution) return;
    const bars = copyOfBars();
    drawBars(bars, score, scale.levels);
    caption.append(bars);
  }
}
