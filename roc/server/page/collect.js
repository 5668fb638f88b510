// Files out of what the user dropped, pasted or chose, folders included.

import { looksLikePhoto } from "./pure.js";

/** What was found: files with the names they are shown under, and the names of those left out. */
class Found {
  files = [];
  left = [];

  add(file, name, alone) {
    if (alone || looksLikePhoto(file)) this.files.push({ file, name });
    else if (!file.name.startsWith(".")) this.left.push(name);
  }
}

/** From a list of files of an <input>; those of a folder carry their path. */
export function fromList(list) {
  const found = new Found();
  for (const file of list) found.add(file, file.webkitRelativePath || file.name, !file.webkitRelativePath);
  return found;
}

/** From a drop or a paste. Has to be called while the event is handled, before anything is awaited. */
export async function fromTransfer(transfer) {
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

/** The browser gives the entries of a folder out in handfuls. */
async function* entriesOf(folder) {
  const reader = folder.createReader();
  for (;;) {
    const handful = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!handful.length) return;
    yield* handful;
  }
}
