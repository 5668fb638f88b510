// One's own taste: choose between pairs that the model is least sure of, see the ranking change, save the head.

import { countText } from "./pure.js";
import { askFeatures, askPersonal } from "./server.js";
import { say } from "./notices.js";
import { find, hidePicture, make, showPicture } from "./parts.js";

const MOST_PHOTOS = 256;
const MOST_PAIRS = 512;
const FEWEST = 10;

export class Taste {
  #photos = [];
  #pairs = [];
  #question = null;
  #asked = 0;
  #before = [];

  /** needKey: called when the server asks for an API key; resolves to whether there is one now. */
  constructor(needKey) {
    this.needKey = needKey;
    this.dialog = find("taste");
    find("taste-close").addEventListener("click", () => this.dialog.close());
    find("taste-equal").addEventListener("click", () => this.#answer(0.5));
    find("taste-save").addEventListener("click", () => this.#ask({ check: true }));
    find("taste-again").addEventListener("click", () => this.#ask());
    ["first", "second"].forEach((side, wins) => {
      find(`taste-${side}`).addEventListener("click", () => this.#answer(wins));
    });
    this.dialog.addEventListener("close", () => {
      this.#asked += 1;
      for (const side of ["first", "second"]) hidePicture(find(`taste-${side}`).querySelector("img"));
    });
  }

  /** Opens with the scored photos; what was chosen before between photos that are still there is kept. */
  open(photos, model) {
    const chosen = photos.filter((photo) => photo.state === "scored").slice(0, MOST_PHOTOS);
    const places = new Map(chosen.map((photo, place) => [photo, place]));
    this.#pairs = this.#pairs
      .map(([first, second, wins]) => [places.get(this.#photos[first]), places.get(this.#photos[second]), wins])
      .filter(([first, second]) => first !== undefined && second !== undefined);
    [this.#photos, this.#before, this.limits] = [chosen, [], model.limits];
    find("taste-title").textContent = `Which has more of what you like? (${model.attributes[0]})`;
    find("taste-verdict").textContent = "";
    this.dialog.showModal();
    this.#ask();
  }

  #answer(wins) {
    if (!this.#question) return;
    this.#pairs.push([...this.#question.slice(0, 2), wins]);
    this.#ask();
  }

  /** Asks for the ranking and the next pair; with `check`, whether the head helps, and saves it if it does. */
  async #ask(more = {}) {
    const asked = ++this.#asked;
    this.#busy(true);
    try {
      await this.#read(asked);
      if (asked !== this.#asked) return;
      this.#tell(more.check ? "Checking on photos that were held out" : "Ranking");
      const features = this.#photos.map((photo) => photo.feature);
      const answer = await askPersonal({ features, pairs: this.#pairs, questions: 1, ...more });
      if (asked === this.#asked) this.#show(answer, more.check);
    } catch (error) {
      if (asked !== this.#asked) return;
      if (error.kind === "key" && (await this.needKey(error.message)) && asked === this.#asked) {
        this.#ask(more);
        return;
      }
      this.#tell(error.message ?? String(error));
      find("taste-again").hidden = false;
    }
  }

  /** Has the server read the photos that it has not read yet, some at a time; those it cannot read are left out. */
  async #read(asked) {
    const fresh = this.#photos.filter((photo) => !photo.feature);
    const size = Math.min(8, this.limits?.images ?? 8);
    for (let start = 0; start < fresh.length; start += size) {
      this.#tell(`Reading photos: ${start} of ${fresh.length}`);
      const part = fresh.slice(start, start + size);
      const results = await askFeatures(part);
      if (asked !== this.#asked) return;
      part.forEach((photo, place) => (photo.feature = results[place]?.feature ?? null));
    }
    const lost = this.#photos.find((photo) => !photo.feature);
    if (lost) throw new Error(`${lost.name} could not be read; remove it and open this again.`);
  }

  #busy(is) {
    for (const name of ["first", "second", "equal", "save"]) find(`taste-${name}`).disabled = is;
    find("taste-again").hidden = true;
  }

  #tell(text) {
    find("taste-told").textContent = text;
  }

  #show(answer, checked) {
    this.#busy(false);
    [this.#question] = answer.questions;
    const decided = this.#pairs.filter(([, , wins]) => wins !== 0.5).length;
    find("taste-save").disabled = decided < FEWEST;
    const left = decided < FEWEST ? `; ${FEWEST - decided} more until it can be checked` : "";
    this.#tell(`${countText(this.#pairs.length, "pair")} chosen${left}`);
    const none = !this.#question || this.#pairs.length >= MOST_PAIRS;
    find("taste-sides").hidden = find("taste-equal").hidden = none;
    if (none) this.#tell("There is no further pair to choose between");
    else {
      ["first", "second"].forEach((side, index) => {
        const photo = this.#photos[this.#question[index]];
        const button = find(`taste-${side}`);
        showPicture(button.querySelector("img"), photo.file, button.querySelector(".blank"));
        button.querySelector(".name").textContent = photo.name;
      });
    }
    this.#rank(answer.personal);
    if (checked) this.#check(answer);
  }

  #rank(scores) {
    const order = scores.map((_, place) => place).sort((a, b) => scores[b] - scores[a]);
    const rows = order.map((place, index) => {
      const was = this.#before.indexOf(place);
      const moved = was < 0 || was === index ? "" : was > index ? `up ${was - index}` : `down ${index - was}`;
      const change = make("span", { className: "quiet" }, moved);
      return make("li", {}, make("span", { className: "name" }, this.#photos[place].name), " ", change);
    });
    this.#before = order;
    find("taste-ranking").replaceChildren(...rows);
  }

  #check({ verdict, head }) {
    const [general, personal] = [verdict.general, verdict.personal].map((share) => `${Math.round(100 * share)}%`);
    const shown = `Of held-out pairs, the general score has ${general} in your order, yours ${personal}.`;
    const text = head
      ? `${shown} It helps, so it was saved: name the file as --checkpoint.`
      : `${shown} That does not show that yours helps, so nothing was saved. Choose between more pairs.`;
    find("taste-verdict").textContent = text;
    say(text);
    if (!head) return;
    const url = URL.createObjectURL(new Blob([JSON.stringify(head)], { type: "application/json" }));
    make("a", { href: url, download: "my-taste.json" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }
}
