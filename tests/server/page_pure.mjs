// The functions of the page that need no page: node --test tests/server/page_pure.mjs

import assert from "node:assert/strict";
import { test } from "node:test";
import * as pure from "../../roc/server/page/pure.js";

const model = { min_score: 1, max_score: 10, levels: [1, 10], attributes: ["overall", "light"], calibrated: true };
const photo = (id, overall, name = `${id}.jpg`) => {
  const scores = overall === undefined ? null : { overall: overall === null ? null : { value: overall, std: 1 } };
  return { id, name, state: overall === undefined ? "waiting" : "scored", scores, text: null, error: null };
};
const ids = (photos) => photos.map((one) => one.id);

test("a score has the decimals of its scale", () => {
  const scales = [[1, 10], [1, 5], [0, 1], [0, 100], [2, 2]];
  assert.deepEqual(scales.map(([low, high]) => pure.decimals(low, high)), [2, 2, 3, 1, 2]);
  assert.equal(pure.scoreText(0, model), "0.00");
  assert.equal(pure.scoreText(null, model), "–");
});

test("an attribute with a range of its own is shown on that", () => {
  const both = { ...model, levels: [1, 5.5, 10], attribute_ranges: { light: [-1, 1] } };
  assert.equal(pure.scaleOf(both, "overall"), both);
  assert.equal(pure.scaleOf(model, "light"), model);
  assert.deepEqual(pure.scaleOf(both, "light"), { min_score: -1, max_score: 1, levels: [-1, 0, 1] });
  assert.equal(pure.scoreText(0.5, pure.scaleOf(both, "light")), "0.500");
  const [header, row] = pure.csvText([photo(1, 5)], both).split("\r\n");
  assert.ok(header.endsWith(",text,min_score,max_score,min_score.light,max_score.light,calibrated,error"));
  assert.ok(row.endsWith(",1,10,-1,1,True,"));
});

test("what a calibration and a reference say is shown, and stands in the CSV", () => {
  const more = { coverage: 0.9, unit: "stars", scorer: "mine@0 roc/1", reference: { name: "travel" } };
  const scored = photo(1, 5);
  assert.equal(pure.comparedText(scored.scores.overall, model, model), "");
  assert.equal(pure.comparedText(null, model, model), "");
  Object.assign(scored.scores.overall, { low: 4, high: 6.25, percentile: 72.4, reward: 0.6 });
  const text = "4.00 to 6.25 for 90% of ratings, above 72% of travel";
  assert.equal(pure.comparedText(scored.scores.overall, { ...model, ...more }, model), text);
  const [header, row] = pure.csvText([photo(2, 3), scored], { ...model, ...more }).split("\r\n").toSpliced(1, 1);
  assert.ok(header.startsWith("image,prediction,std,low,high,percentile,reward,p_1,p_2,prediction.light,std.light,text"));
  assert.ok(header.endsWith(",calibrated,coverage,unit,scorer,error"));
  assert.ok(row.startsWith("1.jpg,5,1,4,6.25,72.4,0.6,,,,,") && row.endsWith(",True,0.9,stars,mine@0 roc/1,"));
});

test("a percentage never promises all", () => {
  assert.deepEqual([0, 0.001, 0.5, 0.999, 1].map(pure.percentText), ["0%", "under 1%", "50%", "over 99%", "100%"]);
});

test("photos without a score come last, both ways round", () => {
  const photos = [photo(1, null), photo(2, 5), photo(3), photo(4, 7), photo(5, 5)];
  const by = { kind: "score", attribute: "overall" };
  assert.deepEqual(ids(pure.sorted(photos, by, true)), [4, 2, 5, 3, 1]);
  assert.deepEqual(ids(pure.sorted(photos, by, false)), [2, 5, 4, 3, 1]);
  assert.deepEqual([...pure.ranks(photos, "overall")].map(([one, place]) => [one.id, place]), [[4, 1], [2, 2], [5, 2]]);
});

test("names are sorted as people count", () => {
  const photos = [photo(1, 1, "b10.jpg"), photo(2, 1, "B9.jpg"), photo(3, 1, "a.jpg")];
  assert.deepEqual(ids(pure.sorted(photos, { kind: "name", attribute: "overall" }, false)), [3, 2, 1]);
});

test("the fewest cards move, and the order comes out", () => {
  assert.deepEqual([...pure.misplaced([1, 2, 3, 4, 5], [1, 5, 2, 3, 4])], [5]);
  assert.deepEqual([...pure.misplaced([1, 2, 3], [1, 2, 3])], []);
  let seed = 1;
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  for (let round = 0; round < 50; round += 1) {
    const present = Array.from({ length: 30 }, (_, index) => index);
    const wanted = present.toSorted(() => random() - 0.5);
    const moved = pure.misplaced(present, wanted);
    const staying = wanted.filter((one) => !moved.has(one));
    assert.deepEqual(staying, staying.toSorted((a, b) => a - b));
  }
});

test("the filter", () => {
  const all = { find: "", minimum: null, attribute: "overall", unscored: false };
  const passing = (filter) => ids([photo(1, 5), photo(2, null), photo(3)].filter((one) => pure.passes(one, { ...all, ...filter })));
  assert.deepEqual(passing({}), [1, 2, 3]);
  assert.deepEqual(passing({ minimum: 5 }), [1]);
  assert.deepEqual(passing({ minimum: 6 }), []);
  assert.deepEqual(passing({ unscored: true, minimum: 6 }), [2]);
  assert.deepEqual(passing({ find: " 3.JP" }), [3]);
});

test("cells are quoted, and none is a formula", () => {
  const cells = {
    plain: "plain",
    'a "b", c': '"a ""b"", c"',
    "=1+1": "'=1+1",
    "+1": "'+1",
    "-1.jpg": "'-1.jpg",
    "@SUM(A1)": "'@SUM(A1)",
    " =1": "' =1",
    "\t=1": "\"'\t=1\"",
    "＝1": "'＝1",
    "two\nlines": '"two\nlines"',
    "a;b": '"a;b"',
  };
  for (const [value, cell] of Object.entries(cells)) assert.equal(pure.csvCell(value), cell);
  assert.deepEqual([null, undefined, -1.5, true, false].map(pure.csvCell), ["", "", "-1.5", "True", "False"]);
});

test("a row for every photo, whatever became of it", () => {
  const failed = { ...photo(2), state: "failed", error: "no image" };
  const lines = pure.csvText([photo(1, 5), failed], model).split("\r\n");
  assert.equal(lines[0], "image,prediction,std,p_1,p_2,prediction.light,std.light,text,min_score,max_score,calibrated,error");
  assert.deepEqual(lines.slice(1), ["1.jpg,5,1,,,,,,1,10,True,", "2.jpg,,,,,,,,1,10,True,no image", ""]);
});

test("bars and the place of the mean", () => {
  assert.equal(pure.barsPath([0.25, 0.5], 20, 10), "M0.6 10v-5h8.8v5zM10.6 10v-10h8.8v10z");
  assert.deepEqual([1, 5.5, 10, 11].map((value) => pure.placeOnBars(value, [1, 4, 7, 10])), [0.125, 0.5, 0.875, 0.875]);
  assert.equal(pure.barsText([0.25, 0.75], [1, 10]), "Distribution from 1 to 10: 75% at 10, 25% at 1");
});

test("who wins", () => {
  const words = [0.97, 0.8, 0.6, 0.52, 0.2].map((share) => pure.verdict(share, "a", "b", true));
  assert.deepEqual(words, ["a wins, almost certainly", "a wins, probably", "a wins, narrowly", "Too close to call", "b wins, probably"]);
  assert.deepEqual([0.51, 0.5].map((share) => pure.verdict(share, "a", "b", false)), ["a scores higher", "Both score the same"]);
});

test("Retry-After in seconds, as a date, missing, absurd", () => {
  const now = Date.parse("2026-01-01T00:00:00Z");
  const headers = ["7", "Thu, 01 Jan 2026 00:00:09 GMT", null, "99999", "soon"];
  assert.deepEqual(headers.map((header) => pure.waitSeconds(header, now)), [7, 9, 2, 120, 2]);
});

test("keys that a header can carry", () => {
  const keys = ["0123456789abcdef", "a-b_c.D~+/=!", "clé", "ключ", "zwei worte", "a\u200bb", "a\nb", ""];
  assert.deepEqual(keys.map(pure.fitsHeader), [true, true, false, false, false, false, false, false]);
});

test("what a folder holds besides photos", () => {
  const file = (name, type = "") => ({ name, type });
  const kept = [file("a.JPG"), file("b.heic"), file("c", "image/png"), file("d.txt", "text/plain"), file("._a.jpg")];
  assert.deepEqual(kept.map(pure.looksLikePhoto), [true, true, true, false, false]);
  assert.deepEqual([12, 2048, 5 << 20, 50 << 20].map(pure.bytesText), ["12 bytes", "2.0 KiB", "5.0 MiB", "50 MiB"]);
});
