// Parts that several places of the page share: elements, a picture from a file, a distribution as bars.

import { barsPath, barsText, placeOnBars } from "./pure.js";

export const find = (id) => document.getElementById(id);

/** Makes an element with properties and children; text becomes text nodes, never markup. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/**
 * Shows a file in an <img>, or the element `blank` if the browser cannot. The URL is revoked as soon as the picture is
 * loaded or another one is shown.
 */
export function showPicture(image, file, blank) {
  hidePicture(image);
  const url = URL.createObjectURL(file);
  const settled = new AbortController();
  settled.signal.addEventListener("abort", () => URL.revokeObjectURL(url));
  const outcome = (works) => {
    image.hidden = !works;
    blank.hidden = works;
    settled.abort();
  };
  image.addEventListener("load", () => outcome(true), { signal: settled.signal });
  image.addEventListener("error", () => outcome(false), { signal: settled.signal });
  image.hidden = false;
  blank.hidden = true;
  image.src = url;
  loading.set(image, settled);
}

export function hidePicture(image) {
  loading.get(image)?.abort();
  loading.delete(image);
  image.removeAttribute("src");
}

const loading = new WeakMap();

/** Draws the distribution and mean of a score into the <svg> of the card's template, or a copy of it. */
export function drawBars(svg, score, levels) {
  svg.setAttribute("aria-label", barsText(score.distribution, levels));
  svg.querySelector(".shape").setAttribute("d", barsPath(score.distribution));
  const place = (placeOnBars(score.value, levels) * 100).toFixed(2);
  for (const end of ["x1", "x2"]) svg.querySelector(".mean").setAttribute(end, place);
}

export function copyOfBars() {
  return find("card").content.querySelector(".bars").cloneNode(true);
}
