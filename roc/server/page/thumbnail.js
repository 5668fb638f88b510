// Thumbnails of large files, so that scrolling stays smooth: made when a card comes near, two at a time.

const LARGE = 400_000;
const WIDTH = 640;
const AT_ONCE = 2;

const asked = [];
let running = 0;

/**
 * Calls `show` with the file to display: a small copy, which the photo keeps, or the file itself if it is small already
 * or the browser cannot shrink it. If `wanted()` is false when its turn comes, nothing happens.
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
    // The latest card is the one the user is looking at.
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
    // Drawn and not transferred to a "bitmaprenderer", with which Chromium ignores the orientation of the photo.
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    return await canvas.convertToBlob({ type: "image/webp", quality: 0.85 });
  } catch {
    return file;
  }
}
