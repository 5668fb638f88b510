"""The web page: it loads nothing from elsewhere, and in a browser it shows exactly the numbers of the server.

The tests in a browser are slow, and need playwright and a Chromium on the PATH. Most run against a server that gives
the answers of the real one without a model, `page_stand_in`; the last compares the real one with `Assessment`.
"""

import csv
import importlib.util
import io
import os
import re
import shutil
import subprocess
import tarfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from page_stand_in import COMMENT, PAGE, UNREADABLE, serving, win
from PIL import Image

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync"]
AXE = "4.14.1"

HTML = (PAGE / "index.html").read_text(encoding="utf-8")
SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in sorted(PAGE.glob("*.js"))}
STYLE = (PAGE / "style.css").read_text(encoding="utf-8")


class Elements(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []
        self.feed(HTML)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def all(self, name):
        return [attributes[name] for _, attributes in self.found if name in attributes]


# --- its files --------------------------------------------------------------------------------------------------------


def test_nothing_is_loaded_from_elsewhere():
    elements = Elements()
    for address in elements.all("src") + elements.all("href"):
        assert address.startswith("#") or (PAGE / address.removeprefix("page/")).is_file(), address
    for name, text in {**SCRIPTS, "style.css": STYLE, "index.html": HTML}.items():
        assert not re.search(r"(?:https?|wss?):|[\"'(]//|@import|url\(", text), name


def test_nothing_is_inline():
    """The Content-Security-Policy forbids inline scripts and styles."""
    for tag, attributes in Elements().found:
        assert tag != "style" and "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        assert tag != "script" or attributes["src"] == "page/app.js"


def test_scripts_find_what_they_ask_for():
    elements = Elements()
    ids = elements.all("id")
    assert len(ids) == len(set(ids))
    classes = {name for names in elements.all("class") for name in names.split()}
    asked = set()
    for name, text in SCRIPTS.items():
        asked |= set(re.findall(r'\bfind\("([\w-]+)"\)', text))
        for module in re.findall(r'from "([^"]+)"', text):
            assert (PAGE / module).is_file(), f"{name} imports {module}"
        assert set(re.findall(r'\bpart\("([\w-]+)"\)', text)) <= classes
    assert len(asked) > 40 and asked <= set(ids)
    assert set(elements.all("for") + elements.all("aria-labelledby")) <= set(ids)


def test_names_of_files_never_become_markup():
    assert SCRIPTS
    for name, text in SCRIPTS.items():
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\(", text), name


@pytest.mark.skipif(not shutil.which("node"), reason="no node")
def test_functions_without_a_page():
    script = Path(__file__).with_name("page_pure.mjs")
    result = subprocess.run(["node", "--test", script], capture_output=True, text=True, env={**os.environ, "TZ": "UTC"})
    assert result.returncode == 0, result.stdout + result.stderr


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed")
    if BROWSER is None:
        pytest.skip("no chromium on the PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser):
    """Opens the page of a server. An error of the page, or one of the security policy, fails the test."""
    faults, contexts = [], []

    def opened(url, *, ready=True, **settings):
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: "Content Security" in said.text and faults.append(said.text))
        page.add_init_script(
            "window.urls = 0; const [make, drop] = [URL.createObjectURL, URL.revokeObjectURL];"
            "URL.createObjectURL = (thing) => { urls += 1; return make(thing); };"
            "URL.revokeObjectURL = (url) => { urls -= 1; drop(url); };"
        )
        page.goto(url)
        if ready:
            page.locator("#sort option").first.wait_for(state="attached")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture
def photos(tmp_path):
    """Six image files."""
    generator = np.random.default_rng(5)
    paths = []
    for name in ("dune.jpg", "harbour.png", "lamp.webp", "März, früh.jpg", "=1+1.jpg", "tern.jpg"):
        paths.append(tmp_path / name)
        Image.fromarray(generator.integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(paths[-1])
    return paths


def expect(*what):
    from playwright.sync_api import expect

    return expect(*what)


def put(page, paths, scored=None):
    """Chooses files and waits until all are done."""
    page.set_input_files("#files", paths)
    told = f"{len(paths) if scored is None else scored:,} of "
    expect(page.locator("#told")).to_contain_text(told, timeout=30_000)
    expect(page.locator("#progress")).to_be_hidden(timeout=30_000)
    expect(page.locator("#work")).to_be_visible()


def settled(page):
    """Names of the visible cards in their order, once it no longer changes."""
    page.wait_for_timeout(600)
    return [name.text_content() for name in page.locator(".card:not([hidden]) .name").all()]


def card(page, name):
    return page.locator(".card").filter(has=page.get_by_role("heading", name=name, exact=True))


def numbers(page, name):
    """Scores of a card by attribute."""
    one = card(page, name)
    first = one.locator(".which").text_content() or "overall"
    found = {first: float(one.locator(".value").get_attribute("data-value"))}
    for row in one.locator(".parts > div").all():
        found[row.locator("dt").text_content()] = float(row.locator("dd").get_attribute("data-value"))
    return found


def expected(server, path):
    content = path.read_bytes()
    return {name: server.score(content, name) for name in server.model["attributes"]}


@pytest.mark.slow
def test_the_numbers_of_the_server_in_its_order(visit, photos):
    with serving() as server:
        server.seconds = 0.05
        page = visit(server.url)
        put(page, photos)
        want = {path.name: expected(server, path) for path in photos}
        assert settled(page) == sorted(want, key=lambda name: -want[name]["overall"]["value"])
        assert [rank.text_content() for rank in page.locator(".rank").all()] == list("123456")
        for name, scores in want.items():
            assert numbers(page, name) == {attribute: score["value"] for attribute, score in scores.items()}
            one = card(page, name)
            assert one.locator(".value").text_content() == f"{scores['overall']['value']:.2f}"
            assert one.locator(".spread").text_content() == f"± {scores['overall']['std']:.2f}"
            expect(one.locator(".uncalibrated")).to_be_visible()
            heights = [float(tall) for tall in re.findall(r"v-([\d.]+)", one.locator(".shape").get_attribute("d"))]
            shares = scores["overall"]["distribution"]
            assert heights == pytest.approx([max(30 * share / max(shares), 0.6) for share in shares], abs=0.01)
        assert server.seen == {"/v1/score": 6} and 2 <= server.most <= 4
        assert page.evaluate("urls") == 0
        drawn = "[...document.querySelectorAll('.card img')].map((image) => image.naturalWidth)"
        assert page.evaluate(drawn) == [120] * 6


@pytest.mark.slow
def test_what_cannot_be_scored_says_why_and_stays(visit, photos, tmp_path):
    (tmp_path / "broken scan.jpg").write_bytes(b"\xff\xd8 and then nothing")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "large.jpg").write_bytes(b"0" * 60_000)
    (tmp_path / "slammed.jpg").write_bytes(photos[0].read_bytes())
    (tmp_path / "numberless.png").write_bytes(photos[1].read_bytes())
    odd = [tmp_path / name for name in ("broken scan.jpg", "empty.jpg", "large.jpg", "slammed.jpg", "numberless.png")]
    with serving(bytes_per_image=50_000) as server:
        page = visit(server.url)
        put(page, [*odd, *photos], scored=6)
        expect(page.locator("#told")).to_have_text("6 of 11 photos scored")
        words = {
            "broken scan.jpg": f"N{UNREADABLE[1:]}.",
            "empty.jpg": "The file is empty.",
            "large.jpg": "The file is too large: 59 KiB; this server accepts up to 49 KiB.",
            "slammed.jpg": "The server gave no answer to this photo.",
        }
        for name, text in words.items():
            expect(card(page, name).locator(".problem")).to_have_text(text)
        expect(card(page, "numberless.png").locator(".spread")).to_have_text("no score")
        expect(card(page, "slammed.jpg").locator(".again")).to_be_visible()
        expect(card(page, "empty.jpg").locator(".again")).to_be_hidden()
        assert not {"empty.jpg", "large.jpg"} & set(server.names) and server.names["slammed.jpg"] >= 4
        assert set(settled(page)[:6]) == {path.name for path in photos}
        page.get_by_role("button", name="5 without a score").click()
        assert sorted(settled(page)) == sorted(path.name for path in odd)
        expect(page.locator(".card[data-state=failed] .compare:visible")).to_have_count(0)
        (tmp_path / "slammed.jpg").rename(tmp_path / "open.jpg")  # gone, too, for those that hold it by name
        card(page, "slammed.jpg").locator(".again").click()
        expect(card(page, "slammed.jpg").locator(".problem")).to_contain_text("moved, changed or deleted")


@pytest.mark.slow
def test_a_busy_server_is_waited_for(visit, photos):
    with serving() as server:
        server.busy = 3
        page = visit(server.url)
        page.set_input_files("#files", photos)
        expect(page.locator(".notice")).to_contain_text("The server is busy; trying again in")
        put(page, photos[:0], scored=6)
        expect(page.locator(".notice")).to_have_count(0)
        assert len(settled(page)) == 6 and server.seen["/v1/score"] == 9


@pytest.mark.slow
def test_a_server_that_goes_away_and_comes_back(visit, photos):
    with serving() as server:
        page = visit(server.url)
        page.route("**/v1/**", lambda route: route.abort())
        page.set_input_files("#files", photos)
        expect(page.locator(".notice")).to_contain_text("cannot be reached")
        page.wait_for_timeout(4000)
        expect(page.locator(".card[data-state=failed]")).to_have_count(0)
        page.unroute("**/v1/**")
        page.get_by_role("button", name="Try now").click()
        put(page, photos[:0], scored=6)


@pytest.mark.slow
def test_photos_wait_for_a_server_that_is_not_ready(visit, photos):
    with serving() as server:
        server.key = "not yet"
        page = visit(server.url, ready=False)
        page.get_by_role("button", name="Not now").click()
        page.set_input_files("#files", photos)
        expect(page.locator("#told")).to_have_text("6 photos waiting for the server")
        server.key = None
        page.get_by_role("button", name="Enter the key").click()
        page.get_by_role("textbox", name="API key").fill("any")
        page.keyboard.press("Enter")
        put(page, photos[:0], scored=6)
        assert len(settled(page)) == 6


@pytest.mark.slow
def test_a_key_is_asked_for_and_kept_for_this_tab_alone(visit, photos):
    with serving() as server:
        server.key = "s3cret"
        page = visit(server.url, ready=False)
        dialog = page.get_by_role("dialog")
        for odd in ("ключ", "s3cr\N{ZERO WIDTH SPACE}et"):
            dialog.get_by_label("API key").fill(odd)
            dialog.get_by_role("button", name="Use this key").click()
            expect(page.get_by_role("alert")).to_have_text(
                "This is not an API key: a key has only the letters A to Z, digits and signs. Please copy it again."
            )
        dialog.get_by_label("API key").fill("wrong")
        dialog.get_by_role("button", name="Use this key").click()
        expect(page.get_by_role("alert")).to_have_text("The server did not accept this key.")
        dialog.get_by_label("API key").fill("s3cret")
        page.keyboard.press("Enter")
        expect(dialog).to_be_hidden()
        put(page, photos)
        assert page.evaluate("[localStorage.length, document.cookie, Object.values(sessionStorage)]") == [
            0,
            "",
            ["s3cret"],
        ]
        server.key = "another"
        page.get_by_role("button", name="Comment on dune.jpg").click()
        expect(dialog).to_be_visible()
        dialog.get_by_label("API key").fill("another")
        page.keyboard.press("Enter")
        expect(card(page, "dune.jpg").locator(".comment")).to_have_text(COMMENT.strip())


@pytest.mark.slow
@pytest.mark.parametrize("calibrated", [True, False])
def test_two_photos_compared(visit, photos, calibrated):
    with serving(calibrated=calibrated) as server:
        page = visit(server.url)
        put(page, photos)
        for name in ("dune.jpg", "tern.jpg"):
            page.get_by_role("button", name=f"Compare {name}").click()
        dialog = page.get_by_role("dialog", name="Which wins?")
        for attribute in ("overall", "light"):
            dialog.get_by_label("Judged by").select_option(attribute)
            one, other = (expected(server, path)[attribute] for path in (photos[0], photos[5]))
            share = win(one, other)
            expect(page.locator("#duel-first-odds")).to_have_attribute("data-value", str(share))
            winner = "dune.jpg" if share > 0.5 else "tern.jpg"
            word = "wins" if calibrated else "scores higher"
            if not (calibrated and max(share, 1 - share) < 0.55):
                expect(dialog.get_by_role("status")).to_contain_text(f"{winner} {word}")
            odds = [dialog.locator(f"#duel-{side}-odds").text_content() for side in ("first", "second")]
            assert odds[0] in (f"{round(100 * share)}%", "over 99%", "under 1%") and odds != ["50%", "50%"]
            values = [value.text_content() for value in dialog.locator("figcaption .value").all()]
            assert values == [f"{one['value']:.2f}", f"{other['value']:.2f}"]
            expect(dialog.locator("figcaption .bars")).to_have_count(2)
            expect(page.locator("#duel-note")).to_be_visible(visible=not calibrated)
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        expect(page.get_by_role("button", name="Compare tern.jpg")).to_be_focused()
        expect(page.locator(".card.picked")).to_have_count(0)


@pytest.mark.slow
def test_sort_filter_and_the_file_of_results(visit, photos, tmp_path):
    hostile = tmp_path / '"quoted", with; all.jpg'
    hostile.write_bytes(photos[0].read_bytes() + b"0")
    (tmp_path / "broken.jpg").write_bytes(b"broken")
    every = [*photos, hostile, tmp_path / "broken.jpg"]
    with serving() as server:
        page = visit(server.url)
        put(page, every, scored=7)
        want = {path.name: expected(server, path) for path in every if path.name != "broken.jpg"}

        def by(attribute, turn):
            return sorted(want, key=lambda name: turn * want[name][attribute]["value"])

        page.get_by_label("Sort by").select_option("light")
        assert settled(page) == [*by("light", -1), "broken.jpg"]
        page.get_by_role("button", name="Highest first").click()
        assert settled(page) == [*by("light", 1), "broken.jpg"]
        assert numbers(page, "dune.jpg") == {name: score["value"] for name, score in want["dune.jpg"].items()}
        page.get_by_label("Sort by").select_option("name")
        assert settled(page)[-4:] == ["harbour.png", "lamp.webp", "März, früh.jpg", "tern.jpg"]
        page.get_by_label("Sort by").select_option("order added")
        assert settled(page) == [path.name for path in every]
        page.get_by_label("Sort by").select_option("overall")

        page.get_by_label("Find name").fill("R")
        assert set(settled(page)) == {"harbour.png", "März, früh.jpg", "tern.jpg", "broken.jpg"}
        page.get_by_label("Find name").fill("")
        middle = sorted(scores["overall"]["value"] for scores in want.values())[3]
        page.get_by_label("Minimum overall").fill(str(middle))
        assert settled(page) == by("overall", -1)[:4]
        expect(page.locator("#told")).to_have_text("7 of 8 photos scored, 4 shown")
        page.get_by_label("Find name").fill("nobody")
        expect(page.get_by_text("No photo matches the filter.")).to_be_visible()
        page.get_by_role("button", name="Show all photos").click()
        assert len(settled(page)) == 8

        page.get_by_role("button", name="Comment on dune.jpg").click()
        expect(card(page, "dune.jpg").locator(".comment")).to_have_text(COMMENT.strip())
        with page.expect_download() as download:
            page.get_by_role("button", name="Download CSV").click()
    assert download.value.suggested_filename == "roc-scores.csv"
    text = Path(download.value.path()).read_bytes().decode("utf-8-sig")
    rows = {row["image"]: row for row in csv.DictReader(io.StringIO(text), strict=True)}
    assert list(rows) == [name.replace("=1", "'=1") for name in [*by("overall", -1), "broken.jpg"]]
    for name, scores in want.items():
        row = rows[name.replace("=1", "'=1")]
        assert float(row["prediction"]) == scores["overall"]["value"] and row["calibrated"] == "False"
        assert float(row["std"]) == scores["overall"]["std"] and row["error"] == ""
        assert [float(row[f"p_{n}"]) for n in range(1, 11)] == scores["overall"]["distribution"]
        assert float(row["prediction.light"]) == scores["light"]["value"]
    assert rows["dune.jpg"]["text"] == COMMENT.strip() and rows["tern.jpg"]["text"] == ""
    assert rows["broken.jpg"]["prediction"] == "" and rows["broken.jpg"]["error"] == f"N{UNREADABLE[1:]}."


@pytest.mark.slow
def test_comments_on_every_photo_and_not(visit, photos):
    with serving() as server:
        page = visit(server.url)
        put(page, photos[:3])
        assert server.seen["/v1/describe"] == 0
        page.get_by_label("Comment on every photo").check()
        expect(page.locator(".comment").filter(has_text=COMMENT.strip())).to_have_count(3)
        page.set_input_files("#files", photos[3:4])
        expect(page.locator(".comment").filter(has_text=COMMENT.strip())).to_have_count(4)
        server.seconds = 1
        page.get_by_label("Comment on every photo").uncheck()
        page.set_input_files("#files", photos[4:])
        expect(page.locator(".describe:visible")).to_have_count(2)
        assert server.seen["/v1/describe"] == 4


@pytest.mark.slow
def test_removed_cleared_and_brought_back(visit, photos):
    with serving() as server:
        page = visit(server.url)
        put(page, photos)
        order = settled(page)
        page.locator(".card").nth(1).hover()
        page.get_by_role("button", name=f"Remove {order[1]}").click()
        assert settled(page) == [order[0], *order[2:]]
        expect(page.get_by_role("button", name=f"Remove {order[2]}")).to_be_focused()
        page.get_by_role("button", name="Undo").click()
        assert settled(page) == order
        page.get_by_role("button", name="Clear all").click()
        expect(page.get_by_role("heading", name="See your photos ranked")).to_be_visible()
        expect(page.locator(".card")).to_have_count(0)
        assert page.evaluate("urls") == 0
        page.get_by_role("button", name="Undo").click()
        assert settled(page) == order and server.seen["/v1/score"] == 6
        page.set_input_files("#files", photos[:2])
        expect(page.locator(".notice")).to_contain_text("2 photos were already here.")
        assert settled(page) == order


@pytest.mark.slow
def test_dropped_files_and_folders(visit, photos, tmp_path):
    (tmp_path / "trip/day one").mkdir(parents=True)
    for path in photos[:3]:
        shutil.copy(path, tmp_path / "trip/day one")
    (tmp_path / "trip/notes.txt").write_text("left out")
    (tmp_path / "trip/.hidden").write_text("not told of")
    with serving() as server:
        page = visit(server.url)
        page.set_input_files("#folder", tmp_path / "trip")
        expect(page.locator("#told")).to_have_text("3 of 3 photos scored")
        assert sorted(settled(page)) == [f"trip/day one/{path.name}" for path in photos[:3]]
        expect(page.locator(".notice")).to_contain_text("1 file is not a photo and was left out: trip/notes.txt.")
        dropped = page.evaluate_handle(
            "bytes => { const all = new DataTransfer();"
            "all.items.add(new File([new Uint8Array(bytes)], 'dropped.jpg', {type: 'image/jpeg'})); return all; }",
            list(photos[4].read_bytes()),
        )
        page.dispatch_event("body", "drop", {"dataTransfer": dropped})
        expect(card(page, "dropped.jpg").locator(".value")).to_have_attribute(
            "data-value", str(expected(server, photos[4])["overall"]["value"])
        )


@pytest.mark.slow
def test_names_are_only_names(visit, photos, tmp_path):
    name = "<img src=x onerror=alert(1)>&amp;<b>.jpg"
    shutil.copy(photos[0], tmp_path / name)
    with serving() as server:
        page = visit(server.url)
        page.on("dialog", lambda dialog: pytest.fail(dialog.message))
        put(page, [tmp_path / name, photos[1]])
        assert name in settled(page)
        page.get_by_role("button", name=f"Compare {name}", exact=True).click()
        page.get_by_role("button", name="Compare harbour.png").click()
        expect(page.locator("#duel-first .name")).to_have_text(name)
        page.keyboard.press("Escape")
        page.get_by_role("button", name=f"Open {name}", exact=True).click()
        expect(page.locator("#viewer-name")).to_have_text(name)
        expect(page.locator("img[src=x], b b, h2 b, h3 b")).to_have_count(0)


@pytest.mark.slow
def test_with_the_keyboard_alone(visit, photos):
    """From choosing photos to the winner, the large view, and a photo removed; Tab, Enter, Space, arrows and Escape."""
    with serving() as server:
        page = visit(server.url)
        choosers = []
        page.on("filechooser", lambda chooser: choosers.append(chooser))

        def tab_to(name, most=60):
            for _ in range(most):
                page.keyboard.press("Tab")
                told = "e => e.getAttribute('aria-label') || e.labels?.[0]?.textContent.trim() || e.textContent.trim()"
                focused = page.evaluate_handle("document.activeElement")
                if re.fullmatch(name, focused.evaluate(told)):
                    outline = focused.evaluate("e => getComputedStyle(e).outlineStyle")
                    assert outline != "none", f"{name}: one does not see where one is"
                    return
            pytest.fail(f"Tab does not lead to {name}")

        tab_to("Choose photos", 2)
        page.keyboard.press("Enter")
        for _ in range(100):
            page.wait_for_timeout(100)
            if choosers:
                break
        [chooser] = choosers
        chooser.set_files(photos)
        expect(page.locator("#told")).to_have_text("6 of 6 photos scored")
        best, second, *_ = settled(page)
        tab_to("Sort by")
        page.keyboard.press("ArrowDown")
        expect(page.locator(".which").first).to_have_text("composition")
        page.keyboard.press("ArrowUp")
        assert settled(page)[:2] == [best, second]
        tab_to(re.escape(f"Compare {best}"))
        page.keyboard.press("Space")
        expect(page.get_by_text("Pick another photo to compare with")).to_be_visible()
        tab_to(re.escape(f"Compare {second}"))
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog", name="Which wins?")).to_be_visible()
        expect(page.locator("#duel-verdict")).to_contain_text(f"{best} scores higher")
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_be_hidden()
        tab_to(re.escape(f"Comment on {second}"), 1)
        page.keyboard.press("Enter")
        expect(card(page, second).locator(".comment")).to_have_text(COMMENT.strip())
        expect(page.get_by_role("button", name=f"Open {second}")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name=second, level=2)).to_be_visible()
        page.keyboard.press("ArrowLeft")
        expect(page.get_by_role("heading", name=best, level=2)).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name=f"Open {second}")).to_be_focused()
        tab_to(re.escape(f"Remove {second}"), 1)
        page.keyboard.press("Enter")
        assert second not in settled(page) and len(settled(page)) == 5
        expect(page.locator("#live")).not_to_be_empty()


@pytest.mark.slow
def test_what_a_screen_reader_is_told(visit, photos):
    with serving() as server:
        page = visit(server.url)
        put(page, photos[:1])
        scores = expected(server, photos[0])
        expect(page.locator("#live")).to_have_text("1 of 1 photo scored")
        expect(page.locator("#live")).to_have_attribute("role", "status")
        expect(page.get_by_role("list").filter(has=page.get_by_role("heading", name="dune.jpg"))).to_have_count(1)
        snapshot = page.locator(".card").aria_snapshot()
        likeliest = max(range(10), key=lambda i: scores["overall"]["distribution"][i])
        share = round(100 * scores["overall"]["distribution"][likeliest])
        assert f'img "Distribution from 1 to 10: {share}% at {likeliest + 1}' in snapshot
        for line in ('heading "dune.jpg" [level=3]', 'button "Open dune.jpg"', 'button "Remove dune.jpg"'):
            assert line in snapshot
        assert f"{scores['overall']['value']:.2f}" in snapshot and "term: light" in snapshot


def axe_source(folder):
    """The source of axe-core from npm; None if it cannot be fetched."""
    try:
        command = ["npm", "pack", "--silent", f"axe-core@{AXE}"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
        with tarfile.open(next(folder.glob("axe-core-*.tgz"))) as archive:
            return archive.extractfile("package/axe.min.js").read().decode()
    except (OSError, subprocess.SubprocessError, StopIteration):
        return None


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    source = axe_source(tmp_path_factory.mktemp("axe"))
    if source is None:
        pytest.skip("axe-core cannot be had from npm")
    return source


@pytest.mark.slow
@pytest.mark.parametrize("look", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 800), (320, 640)])
def test_axe_finds_nothing_and_nothing_sticks_out(visit, photos, tmp_path, axe, look, size):
    (tmp_path / "broken.jpg").write_bytes(b"broken")
    shape = {"viewport": {"width": size[0], "height": size[1]}, "is_mobile": size[0] < 400, "has_touch": size[0] < 400}
    with serving() as server:
        page = visit(server.url, color_scheme=look, reduced_motion="reduce", **shape)

        def check(state):
            page.evaluate(f"() => {{ if (!window.axe) {{ {axe} }} }}")
            found = page.evaluate("axe.run()")["violations"]
            told = [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found]
            assert told == [], state
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0], state

        check("empty")
        server.seconds = 0.7
        page.set_input_files("#files", photos)
        expect(page.locator(".card[data-state=sending]").first).to_be_attached()
        check("working")
        server.seconds = 0
        put(page, [*photos, tmp_path / "broken.jpg"], scored=6)
        page.locator(".describe:visible").first.click()
        expect(page.locator(".comment").filter(has_text=COMMENT.strip())).to_have_count(1)
        check("full")
        page.locator(".compare:visible").first.click()
        check("picking")
        page.locator(".compare:visible").nth(1).click()
        expect(page.locator("#duel-odds")).to_be_visible()
        check("comparing")
        page.keyboard.press("Escape")
        page.locator(".open").first.click()
        check("viewing")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Clear all").click()
        check("cleared")
        server.key = "asked"
        page.set_input_files("#files", photos[:1])
        expect(page.get_by_role("dialog")).to_be_visible()
        check("key")


@pytest.mark.slow
def test_hundreds_of_photos(visit, photos, tmp_path):
    """All are ranked, but only images near the visible part are loaded."""
    content = photos[0].read_bytes()
    many = []
    for i in range(400):
        many.append(tmp_path / f"many {i}.jpg")
        many[-1].write_bytes(content + i.to_bytes(2, "big"))
    with serving() as server:
        page = visit(server.url)
        page.set_input_files("#files", many)
        page.get_by_label("Find name").fill("many 39")
        expect(page.locator("#told")).to_contain_text("400 of 400 photos scored", timeout=120_000)
        assert len(settled(page)) == 11
        page.get_by_label("Find name").fill("")
        want = {path.name: expected(server, path)["overall"]["value"] for path in many}
        values = [want[name] for name in settled(page)]
        assert len(values) == 400 and values == sorted(values, reverse=True)
        for _ in range(3):
            page.mouse.wheel(0, 20_000)
            page.wait_for_timeout(200)
        assert 0 < page.locator(".card img[src]").count() < 60
        page.get_by_role("button", name="Clear all").click()
        expect(page.locator(".card")).to_have_count(0)
        assert page.evaluate("urls") == 0


@pytest.mark.slow
def test_large_photos_stand_upright(visit, tmp_path):
    """The thumbnail of a file whose EXIF data says that the camera was held upright."""
    generator = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x112] = 6
    noise = Image.fromarray(generator.integers(0, 256, (1000, 1500, 3), dtype=np.uint8))
    noise.save(tmp_path / "upright.jpg", exif=exif, quality=90)
    with serving() as server:
        page = visit(server.url)
        put(page, [tmp_path / "upright.jpg"])
        page.locator(".card img[src]").wait_for()
        page.wait_for_timeout(1000)
        size = page.locator(".card img").evaluate("image => [image.naturalWidth, image.naturalHeight]")
        assert size == [640, 960]


@pytest.mark.slow
def test_the_real_server_and_assessment_agree(visit, photos, tmp_path, checkpoint, assessment):
    from serving import running

    (tmp_path / "broken.jpg").write_bytes(photos[0].read_bytes()[:40])
    want = {path.name: assessed.scores for path, assessed in zip(photos, assessment.score(photos), strict=True)}
    first, other = assessment.attributes[0], assessment.attributes[-1]
    with running(checkpoint) as server:
        page = visit(server.url)
        put(page, [*photos, tmp_path / "broken.jpg"], scored=6)
        assert settled(page) == [*sorted(want, key=lambda name: -want[name][first].value), "broken.jpg"]
        for name, scores in want.items():
            shown = numbers(page, name)
            assert shown == pytest.approx({attribute: score.value for attribute, score in scores.items()}, abs=1e-4)
            assert card(page, name).locator(".spread").text_content() == f"± {scores[first].std:.2f}"
            heights = re.findall(r"v-([\d.]+)", card(page, name).locator(".shape").get_attribute("d"))
            tall = [30 * share / max(scores[first].distribution) for share in scores[first].distribution]
            assert [float(height) for height in heights] == pytest.approx([max(one, 0.6) for one in tall], abs=0.02)
        expect(card(page, "broken.jpg").locator(".problem")).to_be_visible()
        page.get_by_label("Sort by").select_option(other)
        assert settled(page)[:6] == sorted(want, key=lambda name: -want[name][other].value)
        for name in ("dune.jpg", "tern.jpg"):
            page.get_by_role("button", name=f"Compare {name}").click()
        one, two = (want[name][other] for name in ("dune.jpg", "tern.jpg"))
        share = win({"value": one.value, "std": one.std}, {"value": two.value, "std": two.std})
        page.locator("#duel-odds").wait_for()
        assert float(page.locator("#duel-first-odds").get_attribute("data-value")) == pytest.approx(share, abs=1e-3)
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Comment on dune.jpg").click()
        expect(card(page, "dune.jpg").locator(".comment")).not_to_have_class(re.compile("quiet"), timeout=60_000)
        [described] = assessment.describe(photos[0])
        said = re.sub(r"\s+", " ", card(page, "dune.jpg").locator(".comment").text_content()).strip()
        assert said == (re.sub(r"\s+", " ", described.text).strip() or "The model wrote nothing.")
        with page.expect_download() as download:
            page.get_by_role("button", name="Download CSV").click()
    text = Path(download.value.path()).read_bytes().decode("utf-8-sig")
    rows = {row["image"].removeprefix("'"): row for row in csv.DictReader(io.StringIO(text), strict=True)}
    for name, scores in want.items():
        assert float(rows[name]["prediction"]) == pytest.approx(scores[first].value, abs=1e-4)
        shares = [float(rows[name][f"p_{n}"]) for n in range(1, len(scores[first].levels) + 1)]
        assert shares == pytest.approx(list(scores[first].distribution), abs=1e-5)
    assert rows["broken.jpg"]["error"]


@pytest.mark.slow
def test_a_taste_is_chosen_checked_and_saved_as_a_checkpoint(visit, tmp_path, checkpoint, assessment):
    """Somebody prefers what the model does not: the file that the page gives scores photos in that order."""
    from scipy.stats import spearmanr
    from serving import photo, running

    from roc.scoring.assessment import Assessment

    paths = [tmp_path / f"{i:02}.png" for i in range(24)]
    for i, path in enumerate(paths):
        path.write_bytes(photo(i))
    found = assessment.score(paths)
    general = {path.name: one.scores["overall"].value for path, one in zip(paths, found, strict=True)}
    with running(checkpoint) as server:
        page = visit(server.url)
        put(page, paths)
        page.get_by_role("button", name="My taste").click()
        save, told = page.locator("#taste-save"), page.locator("#taste-told")
        for count in range(1, 41):
            expect(page.locator("#taste-first")).to_be_enabled(timeout=30_000)
            assert save.is_disabled() is (count <= 10)
            shown = {side: page.locator(f"#taste-{side} .name").text_content() for side in ("first", "second")}
            page.locator(f"#taste-{min(shown, key=lambda side: general[shown[side]])}").click()
            expect(told).to_contain_text(f"{count} pair", timeout=30_000)
        ranking = [row.text_content().strip() for row in page.locator("#taste-ranking .name").all()]
        with page.expect_download() as download:
            save.click()
        expect(page.locator("#taste-verdict")).to_contain_text("It helps, so it was saved", timeout=30_000)
        head = tmp_path / download.value.suggested_filename
        download.value.save_as(head)
    assert head.name == "my-taste.json"
    saved = Assessment(head, device="cpu")
    personal = {path.name: one.scores["overall"].value for path, one in zip(paths, saved.score(paths), strict=True)}
    assert sorted(personal, key=personal.get, reverse=True) == ranking
    assert saved.model.declaration.personal.pairs == 40 and spearmanr([*general.values()], [*personal.values()])[0] < 0
