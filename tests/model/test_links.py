"""Links while they are learnt: the arithmetic, the loss through them, histograms that move, what a state keeps."""

import dataclasses
import math

import pytest
import torch
from heads import SPACE, VOTES, build, sample

from roc.model.declaration import declare
from roc.model.head import read_levels
from roc.model.links import ScaleLinks
from roc.model.scales import DataScale

SCALES = (DataScale("AVA", (1, 10)), DataScale("KonIQ", (0, 100)))
LEARNT = ((False, False), (True, False))


def links(pieces=2, offset=0.0, slopes=(1.0, 1.0)):
    made = ScaleLinks(SCALES, ("overall", "light"), LEARNT, pieces)
    with torch.no_grad():
        made.offsets[:] = offset
        made.log_slopes[:] = torch.tensor(slopes).log()
    return made


def test_a_new_link_maps_range_onto_range():
    units, sets = torch.tensor([0.0, 0.25, 1.0, 0.5]), torch.tensor([1, 1, 1, 0])
    found = links()(units, sets, torch.zeros(4, dtype=torch.long))
    torch.testing.assert_close(found, torch.tensor([0.0, 25.0, 100.0, 5.5]))


def test_a_link_by_hand():
    """g(u) = 0.1 + 0.4 u up to 0.5 and rises by 1.2 from there; links that are not learnt stay where they are."""
    made = links(offset=0.1, slopes=(0.4, 1.2))
    units, columns = torch.tensor([0.25, 0.75, 0.25, 0.25]), torch.tensor([0, 0, 1, 0])
    found = made(units, torch.tensor([1, 1, 1, 0]), columns)
    torch.testing.assert_close(found, torch.tensor([20.0, 60.0, 25.0, 3.25]))
    found.sum().backward()
    # Of the learnt link: both scores have the offset, 0.75 has all of the first piece and 0.25 of the second.
    assert made.offsets.grad.tolist() == [[0.0, 0.0], [200.0, 0.0]]
    torch.testing.assert_close(made.log_slopes.grad[1, 0], torch.tensor([100 * 0.4 * 0.75, 100 * 1.2 * 0.25]))
    assert made.log_slopes.grad[0].abs().sum() == made.log_slopes.grad[1, 1].abs().sum() == 0
    (ava, koniq) = made.scales()
    assert ava == SCALES[0]
    assert koniq.links["overall"] == pytest.approx((10.0, 30.0, 90.0)) and set(koniq.links) == {"overall"}


def test_votes_move_to_the_levels_that_the_link_gives_them():
    made = links(offset=0.1, slopes=(0.4, 1.2))
    votes = torch.eye(5)[[0, 1, 2, 4]]
    moved = made.moved_votes(votes, torch.ones(4, dtype=torch.long), torch.zeros(4, dtype=torch.long))
    # Natively at 0, 0.25, 0.5 and 1; the link reaches 0.1 .. 0.9: shared scores 0, 0.375, 0.5 + 0.2 / 1.2 and 1.
    expected = torch.zeros(4, 5)
    expected[0, 0] = expected[3, 4] = 1
    expected[1, 1] = expected[1, 2] = 0.5
    place = 4 * (0.5 + 0.2 / 1.2)
    expected[2, 2], expected[2, 3] = 3 - place, place - 2
    torch.testing.assert_close(moved, expected)
    fixed = made.moved_votes(votes, torch.zeros(4, dtype=torch.long), torch.zeros(4, dtype=torch.long))
    assert torch.equal(fixed, votes)


def test_a_state_is_kept_apart_from_the_weights():
    made, other = links(offset=0.1, slopes=(0.4, 1.2)), links()
    assert made.state_dict() == {}
    other.load(made.state())
    assert other.scales() == made.scales()
    with pytest.raises(ValueError, match="the saved links are those of other data sets: log_slopes is"):
        links(pieces=3, slopes=(1.0, 1.0, 1.0)).load(made.state())


def test_a_flat_link_still_rises():
    made = links(slopes=(1e-20, 1.0))
    assert made.scales()[1].links["overall"][1] > 0


def test_the_loss_goes_through_the_links():
    """Smooth L1 of each row on its own scale, histograms on the levels of the shared score."""
    model, _, collator = build("llava", ce_weight=0.5, emd_weight=0.5)
    declare(model, dataclasses.replace(model.declaration, scales=SCALES))
    model.scale_links = links(offset=0.1, slopes=(0.4, 1.2))
    batch = collator(
        [sample(0, scores={"overall": 7.0}), sample(1, scores={"overall": 80.0}, votes={"overall": VOTES})]
    )
    batch["score_sets"] = torch.tensor([0, 1])
    out = model(**batch)
    read = read_levels(out.score_logits[:, 0], torch.tensor(SPACE.levels))
    native = model.scale_links((read.scores - 1) / 9, torch.tensor([0, 1]), torch.zeros(2, dtype=torch.long))
    errors = [abs(native[0].item() - 7.0), abs(native[1].item() - 80.0) * 9 / 100]
    expected = sum(0.5 * error**2 if error < 1 else error - 0.5 for error in errors) / 2
    assert out.l1_loss.item() == pytest.approx(expected, rel=1e-5)
    votes = model.scale_links.moved_votes(
        torch.tensor([VOTES], dtype=torch.float32), torch.tensor([1]), torch.tensor([0])
    )
    log_shares = out.score_logits[1:, 0].log_softmax(-1)
    assert out.ce_loss.item() == pytest.approx(-(votes * log_shares).sum().item(), rel=1e-5)
    torch.testing.assert_close(out.scores[:, 0], read.scores)  # what comes out is the shared score
    out.loss.backward()
    assert model.scale_links.log_slopes.grad[1, 0].abs().sum() > 0
    assert not math.isnan(out.loss.item())
