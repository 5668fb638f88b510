// How files come in: chosen, dropped or pasted, folders included.

import { looksLikePhoto } from "./pure.js";
import { find } from "./parts.js";

/** Calls `add` with what the user brings: {files: [{file, name}], left: names of the files that are no photos}. */
export function takeFiles(add) {
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
}

const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");

let inside = 0;

/** Counts elements that the pointer has entered and left with files in hand; null: let go. */
function dragging(step) {
  inside = Math.max(0, step === null ? 0 : inside + step);
  document.body.classList.toggle("dragging", inside > 0);
}

class Found {
  files = [];
  left = [];

  /** alone: chosen by itself and not as part of a folder, so it is taken whatever its name. */
  add(file, name, alone) {
    if (alone || looksLikePhoto(file)) this.files.push({ file, name });
    else if (!file.name.startsWith(".")) this.left.push(name);
  }
}

/** Reads the list of an <input>; files of a folder carry their path. */
function fromList(list) {
  const found = new Found();
  for (const file of list) found.add(file, file.webkitRelativePath || file.name, !file.webkitRelativePath);
  return found;
}

/** Reads a drop or a paste. The browser empties `transfer` after the event, so its items are taken before any await. */
async function fromTransfer(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile()).filter(Boolean);
  const found = new Found();
  for (const entry of entries) {
    if (entry instanceof File) found.add(entry, entry.name, true);
    else await walk(entry, found, true);
  }
  return found;
}

async function walk(entry, found, alone) {
  const name = entry.fullPath.replace(/^\//, "") || entry.name;
  try {
    if (entry.isFile) found.add(await new Promise((done, failed) => entry.file(done, failed)), name, alone);
    else for await (const inside of entriesOf(entry)) await walk(inside, found, false);
  } catch {
    found.left.push(name);
  }
}

/** Yields the entries of a folder; the browser gives them in portions. */
async function* entriesOf(folder) {
  const reader = folder.createReader();
  for (;;) {
    const portion = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!portion.length) return;
    yield* portion;
  }
}
