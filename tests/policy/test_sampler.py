"""The order of the pictures: everything is dealt, groups stay whole, an order can be told again."""

from collections import Counter

import pytest

from roc.policy.sampler import GroupSampler


def sampler(groups, datasets=None, *, pictures=4, generations=2, repeats=1, seed=0, epoch=lambda: 0):
    datasets = datasets or [None] * len(groups)
    return GroupSampler(
        groups, datasets, pictures=pictures, generations=generations, repeats=repeats, seed=seed, epoch=epoch
    )


def test_every_picture_is_dealt_k_times_in_a_row_and_as_often_as_the_generation_is_used():
    found = list(sampler([None] * 8, generations=3, repeats=2))
    assert len(found) == 8 * 3 * 2
    assert found[:12] == found[12:24] and found[24:36] == found[36:]
    assert [len(set(found[i : i + 3])) for i in range(0, len(found), 3)] == [1] * 16
    assert Counter(found) == dict.fromkeys(range(8), 6)


def test_epochs_differ_and_each_can_be_dealt_again():
    epoch = {"now": 0}
    one = sampler([None] * 12, epoch=lambda: epoch["now"])
    first = list(one)
    epoch["now"] = 1
    second = list(one)
    assert first != second
    again = sampler([None] * 12, epoch=lambda: 1)
    assert list(again) == second and len(again) == len(second)
    assert list(sampler([None] * 12, seed=1)) != first


def test_groups_stay_whole_and_the_places_between_go_to_pictures_without_one():
    groups = [f"g{i}" for i in range(3) for _ in range(3)] + [None] * 2
    dealer = sampler(groups)
    for epoch in range(5):
        chunks = dealer.chunks(epoch)
        assert len(chunks) == 3 and all(len(chunk) == 4 for chunk in chunks)
        assert {row for chunk in chunks for row in chunk} == set(range(11))
        for chunk in chunks:
            sizes = Counter(groups[row] for row in set(chunk) if groups[row])
            assert set(sizes.values()) == {3}
            assert len(set(chunk)) == 4  # the third generation takes a single once more, not one of its group


def test_without_pictures_to_fill_with_those_of_the_generation_come_again():
    chunks = sampler(["a"] * 3 + ["b"] * 3).chunks(0)
    assert all(len(chunk) == 4 and len({"ab"[row // 3] for row in chunk}) == 1 for chunk in chunks)


def test_a_generation_has_pictures_of_one_data_set_as_far_as_they_last():
    datasets = ["ava"] * 9 + ["para"] * 7
    dealer = sampler([None] * 16, datasets)
    chunks = dealer.chunks(3)
    assert len(chunks) == 4
    mixed = [chunk for chunk in chunks if len({datasets[row] for row in chunk}) > 1]
    assert len(mixed) == 1 and Counter(row for chunk in chunks for row in chunk) == dict.fromkeys(range(16), 1)


@pytest.mark.parametrize("groups", [["a"] * 5 + [None], [None] * 3])
def test_what_does_not_fit_is_refused(groups):
    with pytest.raises(ValueError, match="a generation has 4 pictures"):
        sampler(groups)
