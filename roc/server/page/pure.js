// Functions without state or DOM: numbers as text, the order of the photos, the results as CSV.

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/** Decimals of a score on this scale: 2 for 1 to 10, 3 for 0 to 1, 1 for 0 to 100. */
export function decimals(min, max) {
  const span = max - min;
  return span > 0 ? Math.max(0, Math.min(6, 2 - Math.floor(Math.log10(span / 4)))) : 2;
}

/** The scale of an attribute {min_score, max_score, levels}: its own range if it has one, else that of the model. */
export function scaleOf(model, attribute) {
  const own = model.attribute_ranges?.[attribute];
  if (!own) return model;
  const [low, high] = own;
  const step = (high - low) / (model.levels.length - 1);
  return { min_score: low, max_score: high, levels: model.levels.map((_, index) => low + step * index) };
}

/** A score as text, with the decimals of its scale; null as a dash. */
export function scoreText(value, scale) {
  return value === null || value === undefined ? "–" : value.toFixed(decimals(scale.min_score, scale.max_score));
}

/** A whole percentage; 0% and 100% stand only for exactly none and all. */
export function percentText(share) {
  const percent = Math.round(share * 100);
  if (percent <= 0 && share > 0) return "under 1%";
  if (percent >= 100 && share < 1) return "over 99%";
  return `${percent}%`;
}

export function countText(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

/** A message of the server as a sentence: with a capital letter and a full stop. */
export function sentence(text) {
  const stop = /[.!?]$/.test(text) ? "" : ".";
  return text.charAt(0).toUpperCase() + text.slice(1) + stop;
}

export function bytesText(bytes) {
  const units = ["bytes", "KiB", "MiB", "GiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024;
    unit += 1;
  }
  return `${unit && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

/** A photo's score {value, std, distribution} for an attribute, or null. */
export function scoreOf(photo, attribute) {
  return photo.scores?.[attribute] ?? null;
}

/**
 * What a calibration and a reference say of a score: "6.2 to 8.0 for 90% of ratings, above 72% of travel". Empty without
 * both.
 */
export function comparedText(score, model, scale) {
  const said = [];
  if (score?.low !== undefined) {
    const ends = [score.low, score.high].map((end) => scoreText(end, scale));
    said.push(`${ends.join(" to ")} for ${percentText(model.coverage)} of ratings`);
  }
  if (score?.percentile !== undefined) {
    said.push(`above ${percentText(score.percentile / 100)} of ${model.reference.name}`);
  }
  return said.join(", ");
}

/** Whether a photo is done and has no such score: it could not be read, or the model gave none. */
export function unscored(photo, attribute) {
  return photo.state === "failed" || (photo.state === "scored" && scoreOf(photo, attribute) === null);
}

/**
 * The photos in the order of the page.
 *
 * by: {kind: "score" | "name" | "added", attribute}. Sorted by score in either direction, photos without one come last:
 * first those still to be scored, then those that got none.
 */
export function sorted(photos, by, descending) {
  const turn = descending ? -1 : 1;
  const late = (photo) => (unscored(photo, by.attribute) ? 2 : scoreOf(photo, by.attribute) === null ? 1 : 0);
  const compare = {
    name: (a, b) => turn * collator.compare(a.name, b.name) || a.id - b.id,
    added: (a, b) => turn * (a.id - b.id),
    score: (a, b) => {
      const [lateA, lateB] = [late(a), late(b)];
      if (lateA || lateB) return lateA - lateB || a.id - b.id;
      return turn * (scoreOf(a, by.attribute).value - scoreOf(b, by.attribute).value) || a.id - b.id;
    },
  };
  return [...photos].sort(compare[by.kind]);
}

/** The rank of each scored photo by an attribute, as a Map: 1 for the highest score; equal scores share a rank. */
export function ranks(photos, attribute) {
  const places = new Map();
  let [place, last] = [0, null];
  const scored = sorted(photos, { kind: "score", attribute }, true).filter((photo) => scoreOf(photo, attribute));
  scored.forEach((photo, index) => {
    const value = scoreOf(photo, attribute).value;
    if (value !== last) [place, last] = [index + 1, value];
    places.set(photo, place);
  });
  return places;
}

/** Whether a photo passes the filter {find, minimum, attribute, unscored}; minimum null also passes unscored ones. */
export function passes(photo, filter) {
  if (filter.unscored && !unscored(photo, filter.attribute)) return false;
  const part = filter.find.trim().toLocaleLowerCase("en");
  if (!photo.name.toLocaleLowerCase("en").includes(part)) return false;
  if (filter.minimum === null || filter.unscored) return true;
  const score = scoreOf(photo, filter.attribute);
  return score !== null && score.value >= filter.minimum;
}

/**
 * What has to be moved to turn `present` into `wanted` (the same things in another order): the fewest, so that one new
 * score among thousands moves one card. The rest is a longest increasing run of places.
 */
export function misplaced(present, wanted) {
  const place = new Map(present.map((thing, index) => [thing, index]));
  const tails = [];
  const before = new Array(wanted.length).fill(-1);
  wanted.forEach((thing, index) => {
    const here = place.get(thing);
    let [low, high] = [0, tails.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (place.get(wanted[tails[middle]]) < here) low = middle + 1;
      else high = middle;
    }
    before[index] = low ? tails[low - 1] : -1;
    tails[low] = index;
  });
  const moved = new Set(wanted);
  for (let index = tails.length ? tails[tails.length - 1] : -1; index >= 0; index = before[index]) {
    moved.delete(wanted[index]);
  }
  return moved;
}

/** The SVG path of a distribution as bars in a box of `width` x `height`; the highest bar fills the height. */
export function barsPath(distribution, width = 100, height = 30) {
  const highest = Math.max(...distribution, 1e-12);
  const step = width / distribution.length;
  const gap = distribution.length <= 24 ? step * 0.12 : 0;
  const round = (number) => Number(number.toFixed(2));
  return distribution
    .map((share, index) => {
      const tall = Math.max((share / highest) * height, 0.6);
      return `M${round(index * step + gap / 2)} ${height}v${round(-tall)}h${round(step - gap)}v${round(tall)}z`;
    })
    .join("");
}

/** The position of a score along the bars, 0 to 1. */
export function placeOnBars(value, levels) {
  const [low, high] = [levels[0], levels[levels.length - 1]];
  const along = high > low ? (value - low) / (high - low) : 0;
  return (0.5 + Math.min(1, Math.max(0, along)) * (levels.length - 1)) / levels.length;
}

/** A distribution in words, for screen readers: its range and its highest bars. */
export function barsText(distribution, levels) {
  const level = (index) => Number(levels[index].toFixed(2));
  const highest = distribution
    .map((share, index) => [share, index])
    .sort((a, b) => b[0] - a[0])
    .slice(0, 3)
    .filter(([share]) => share >= 0.005);
  const bars = highest.map(([share, index]) => `${percentText(share)} at ${level(index)}`).join(", ");
  return `Distribution from ${level(0)} to ${level(levels.length - 1)}: ${bars}`;
}

/** The comment on a photo, or why there is none yet; empty if none was asked for. */
export function commentText(photo) {
  const words = { waiting: "Comment: waiting", asked: "Writing a comment", failed: `No comment: ${photo.textError}` };
  return photo.text ?? words[photo.textState] ?? "";
}

/**
 * Says who wins. `share` is the probability that the first photo scores higher; uncalibrated, it only says which one is
 * ahead.
 */
export function verdict(share, first, second, calibrated) {
  const [winner, sure] = share >= 0.5 ? [first, share] : [second, 1 - share];
  if (!calibrated) return share === 0.5 ? "Both score the same" : `${winner} scores higher`;
  if (sure < 0.55) return "Too close to call";
  const how = sure >= 0.95 ? "almost certainly" : sure >= 0.75 ? "probably" : "narrowly";
  return `${winner} wins, ${how}`;
}

/** The seconds of a Retry-After header, given as a number or a date; 2 without one, at most 120. */
export function waitSeconds(header, now = Date.now()) {
  const text = (header ?? "").trim();
  let seconds = 2;
  if (/^\d+$/.test(text)) seconds = Number(text);
  else if (!Number.isNaN(Date.parse(text))) seconds = Math.ceil((Date.parse(text) - now) / 1000);
  return Math.min(120, Math.max(1, seconds));
}

/** Whether an API key can be sent in a header; the server accepts no others as keys. */
export function fitsHeader(key) {
  return /^[!-~]+$/.test(key);
}

const PICTURES = /\.(jpe?g|jfif|png|webp|gif|avif|heic|heif|tiff?|bmp|jp2|jxl)$/i;

/** Whether a file in a folder looks like a photo. */
export function looksLikePhoto(file) {
  return !file.name.startsWith(".") && (file.type.startsWith("image/") || PICTURES.test(file.name));
}

/** One cell of the CSV file. Text that a spreadsheet would run as a formula gets an apostrophe in front. */
export function csvCell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "number") return String(value);
  const text = /^[\t\r\n]|^\s*[=+\-@\uFF1D\uFF0B\uFF0D\uFF20]/.test(value) ? `'${value}` : value;
  return /[",;\t\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const COMPARISONS = ["low", "high", "percentile", "reward"];

/**
 * The CSV file of the results: the columns of `roc score --distribution --describe`, a spread for each attribute, and
 * the reason if a photo has no score.
 */
export function csvText(photos, model) {
  const [first, ...others] = model.attributes;
  const levels = model.levels.map((_, index) => index);
  const has = (name, key) => photos.some((photo) => scoreOf(photo, name)?.[key] !== undefined);
  const compared = (name) => COMPARISONS.filter((key) => has(name, key));
  const header = ["image", "prediction", "std", ...compared(first), ...levels.map((index) => `p_${index + 1}`)];
  const ofOther = (name) => ["prediction", "std", ...compared(name)].map((key) => `${key}.${name}`);
  header.push(...others.flatMap(ofOther));
  header.push("text", "min_score", "max_score");
  const own = others.filter((name) => model.attribute_ranges?.[name]);
  header.push(...own.flatMap((name) => [`min_score.${name}`, `max_score.${name}`]), "calibrated");
  const about = ["coverage", "unit", "scorer"].filter((key) => model[key] !== undefined);
  header.push(...about, "error");
  const rows = photos.map((photo) => {
    const score = scoreOf(photo, first);
    const row = [photo.name, score?.value, score?.std, ...compared(first).map((key) => score?.[key])];
    row.push(...levels.map((index) => score?.distribution?.[index]));
    for (const name of others) {
      const other = scoreOf(photo, name);
      row.push(other?.value, other?.std, ...compared(name).map((key) => other?.[key]));
    }
    row.push(photo.text, model.min_score, model.max_score);
    row.push(...own.flatMap((name) => model.attribute_ranges[name]), model.calibrated);
    row.push(...about.map((key) => model[key]), photo.error);
    return row;
  });
  return [header, ...rows].map((row) => `${row.map(csvCell).join(",")}\r\n`).join("");
}
