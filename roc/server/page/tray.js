// The photo that was picked for a comparison and waits for a second one.

import { say } from "./notices.js";
import { find, hidePicture, make, showPicture } from "./parts.js";

export class Tray {
  #photo = null;

  /** compare: called with both photos once the second one is picked. */
  constructor(compare) {
    this.compare = compare;
    find("tray-cancel").addEventListener("click", () => {
      const { card } = this.#photo;
      this.empty();
      card.part("compare").focus();
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#photo && !document.querySelector("dialog[open]")) find("tray-cancel").click();
    });
  }

  /** The photo that waits, or null. */
  get photo() {
    return this.#photo;
  }

  /** Takes the first photo, compares it with the second one, or lets go of the first when it is picked again. */
  pick(photo) {
    const first = this.#photo;
    if (first) this.empty();
    if (first === photo) say("Comparison cancelled");
    else if (first) this.compare([first, photo]);
    else {
      this.#photo = photo;
      photo.card.picked(true);
      find("tray-name").textContent = photo.name;
      showPicture(find("tray-photo"), photo.file, make("span"));
      find("tray").hidden = false;
      say(`${photo.name} picked. Pick another photo to compare it with.`);
    }
  }

  empty() {
    this.#photo?.card?.picked(false);
    this.#photo = null;
    hidePicture(find("tray-photo"));
    find("tray").hidden = true;
  }
}
