"""The author without a model says what holds for a scene, and finds what does not."""

import pytest
from PIL import Image

from roc.data.records import Record
from roc.demo.dataset import write_dataset
from roc.reasoning.authors import Request
from roc.reasoning.embedded import SENTENCES, SceneAuthor, Seen
from roc.reasoning.filters import check_form, check_leak
from roc.reasoning.sentences import JUDGEMENTS
from roc.reasoning.tiers import Photo
from roc.reasoning.wording import read_claims, read_tone
from roc.score_space import ScoreSpace

SPACE = ScoreSpace(1, 10)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    write_dataset(folder, 30, 0, 0, size=32, seed=3)
    return folder / "images"


def photo(scenes, number, score):
    path = str(scenes / f"train_{number}.png")
    return Photo.of(Record(f"{number}", (path,), {"overall": score}), SPACE)


def ask(request):
    return SceneAuthor().ask(request).text


def test_its_critiques_pass_all_filters(scenes):
    texts = set()
    for number in range(30):
        one = photo(scenes, number, 1.37 + 0.29 * number)
        critique = ask(Request.write(one, SPACE.range, 0))
        assert check_form(critique) is None and check_leak(critique, one.score, SPACE) is None
        assert read_tone(ask(Request.tone(critique, 0))) == one.tier
        assert read_claims(ask(Request.facts(one, critique, 0))) == []
        texts.add(critique)
    assert len(texts) > 25


def test_no_sentence_that_it_knows_states_a_score():
    known = [sentence.words for sentences in SENTENCES.values() for sentence in sentences]
    known += [words for judgements in JUDGEMENTS.values() for words in judgements]
    assert len(known) > 30
    for words in known:
        for score in (1.0, 5.5, 10.0):
            assert check_leak(words.format(kind="boat", place="table top"), score, SPACE) is None


def test_every_dimension_has_a_sentence_that_holds_and_one_that_does_not(scenes):
    for number in range(30):
        seen = Seen.of(str(scenes / f"train_{number}.png"))
        for sentences in SENTENCES.values():
            held = [one.holds(seen) for one in sentences]
            assert any(held) and not all(held)


def test_a_critique_of_another_scene_is_found_out(scenes):
    told = []
    for number in range(10):
        critique = ask(Request.write(photo(scenes, number, 5.0), SPACE.range, 0))
        seen = Seen.of(str(scenes / f"train_{number + 10}.png"))
        told.append(SceneAuthor().unsupported(critique, seen))
    assert all(told)


def test_things_that_are_not_there_are_named(scenes):
    seen = Seen.of(str(scenes / "train_0.png"))
    absent = "vase" if "vase" not in (seen.scene.kind, seen.scene.bystander) else "boat"
    assert SceneAuthor().unsupported(f"A {absent} stands there.", seen) == [f"a {absent}"]
    assert SceneAuthor().unsupported(f"A {seen.scene.kind} stands beside a {seen.scene.bystander}.", seen) == []


def test_a_tone_without_words_for_it_is_not_guessed():
    assert ask(Request.tone("A picture of a boat.", 0)) == "unclear"
    assert ask(Request.tone("A poor sky. The rest is excellent and strong.", 0)) == "good"


def test_another_photo_is_refused_with_what_to_do(tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path / "train_0.png")
    one = Photo.of(Record("0", (str(tmp_path / "train_0.png"),), {"overall": 5.0}), SPACE)
    with pytest.raises(ValueError, match="no scene of the demo.*--writer chat:MODEL"):
        ask(Request.write(one, SPACE.range, 0))
