// The dialog that asks for an API key.

import { fitsHeader } from "./pure.js";
import { hasKey, keepKey } from "./server.js";
import { find } from "./parts.js";

/** Asks the user for the key; resolves to true once there is one, to false if the user declines. */
export function askForKey() {
  return new Promise((answer) => {
    find("key-problem").textContent = "The server did not accept this key.";
    find("key-problem").hidden = !hasKey();
    find("key-text").value = "";
    find("key").showModal();
    const closed = () => {
      answer(find("key").returnValue === "given");
      find("key").returnValue = "";
    };
    find("key").addEventListener("close", closed, { once: true });
  });
}

find("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = find("key-text").value.trim();
  if (!fitsHeader(key)) {
    find("key-problem").textContent =
      "This is not an API key: a key has only the letters A to Z, digits and signs. Please copy it again.";
    find("key-problem").hidden = false;
    return;
  }
  keepKey(key);
  find("key").close("given");
});
find("key-cancel").addEventListener("click", () => find("key").close());
