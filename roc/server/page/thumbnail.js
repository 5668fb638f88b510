// Small pictures of large files, so that a grid of them scrolls: made when a card comes near, two at a time.

const LARGE = 400_000;
const WIDTH = 640;
const AT_ONCE = 2;

const asked = [];
let running = 0;

/**
 * Calls `show` with what is to be shown of the file of a photo: the file itself where it is small or the browser cannot
 * make it smaller, else a small copy, which the photo keeps. Not where `wanted()` says no when its turn has come.
 */
export function thumbnail(photo, wanted, show) {
  if (photo.small || photo.file.size < LARGE) show(photo.small ?? photo.file);
  else {
    asked.push({ photo, wanted, show });
    next();
  }
}

async function next() {
  while (running < AT_ONCE && asked.length) {
    // The card that came last is what the user looks at.
    const { photo, wanted, show } = asked.pop();
    if (!wanted()) continue;
    running += 1;
    photo.small ??= await smaller(photo.file);
    running -= 1;
    if (wanted()) show(photo.small);
  }
}

async function smaller(file) {
  try {
    const bitmap = await createImageBitmap(file, { resizeWidth: WIDTH, resizeQuality: "medium" });
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    // Drawn, not handed over with a "bitmaprenderer": Chromium then forgets which way up the photo is.
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    return await canvas.convertToBlob({ type: "image/webp", quality: 0.85 });
  } catch {
    return file;
  }
}
