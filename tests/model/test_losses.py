"""The losses against numbers one can redo on paper, against the recorded vectors, and in parts against the whole."""

import math

import pytest
import torch

from roc.model import losses


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def text_loss_of(token_logprobs):
    """Computes the text loss of given log-probabilities: a vocabulary of two, the label always the first."""
    logprobs = tensor(token_logprobs)
    logits = torch.stack([logprobs, torch.log1p(-logprobs.exp())], dim=-1)
    return losses.text_cross_entropy(logits, torch.zeros(len(logprobs), dtype=torch.long))


@pytest.mark.parametrize("name", ["roc.smoothl1.a", "roc.smoothl1.b"])
def test_smooth_l1_reference(vectors, name):
    entry = vectors[name]
    given = entry["inputs"]
    loss = losses.smooth_l1(tensor(given["pred"]), tensor(given["gt"]), beta=given["beta"])
    assert loss.item() == pytest.approx(entry["expected"], abs=entry["tol"])


@pytest.mark.parametrize("name", ["roc.softce.n10", "roc.softce.uniform"])
def test_soft_cross_entropy_reference(vectors, name):
    entry = vectors[name]
    loss = losses.soft_cross_entropy(tensor(entry["inputs"]["logits"]), tensor(entry["inputs"]["target"]))
    assert loss.item() == pytest.approx(entry["expected"], abs=entry["tol"])


@pytest.mark.parametrize(("name", "form"), [("roc.emd.sample_r2", losses.emd), ("roc.emd.batch_r2", losses.batch_emd)])
def test_emd_reference(vectors, name, form):
    entry = vectors[name]
    loss = form(tensor(entry["inputs"]["p"]), tensor(entry["inputs"]["q"]))
    assert loss.item() == pytest.approx(entry["expected"], abs=entry["tol"])


def test_total_with_smooth_l1_reference(vectors):
    entry = vectors["roc.total.l1"]
    given = entry["inputs"]
    l1 = losses.smooth_l1(tensor(given["pred"]), tensor(given["gt"]))
    total = text_loss_of(given["token_logprobs"]) + given["l1_weight"] * l1
    assert total.item() == pytest.approx(entry["expected"], abs=entry["tol"])


def test_total_with_histogram_reference(vectors):
    entry = vectors["roc.total.ava"]
    given = entry["inputs"]
    logits = tensor(given["logits"])
    scores = (logits.softmax(dim=-1) * torch.linspace(1, 10, 10, dtype=torch.float64)).sum(dim=-1)
    l1 = losses.smooth_l1(scores, tensor(given["gt"]))
    ce = losses.soft_cross_entropy(logits, tensor(given["target"]))
    total = text_loss_of(given["token_logprobs"]) + given["l1_weight"] * l1 + given["ce_weight"] * ce
    assert total.item() == pytest.approx(entry["expected"], abs=entry["tol"])


def test_text_cross_entropy_of_equal_logits_is_log_v():
    loss = losses.text_cross_entropy(torch.zeros(3, 7), torch.tensor([0, 3, 6]))
    assert loss.item() == pytest.approx(math.log(7))


def test_text_cross_entropy_leaves_unsupervised_tokens_out():
    logits = tensor([[0.0, 0.0], [5.0, -5.0]])
    loss = losses.text_cross_entropy(logits, torch.tensor([1, -100]))
    assert loss.item() == pytest.approx(math.log(2))
    nothing = losses.text_cross_entropy(logits.requires_grad_(), torch.tensor([-100, -100]))
    nothing.backward()
    assert nothing.item() == 0.0
    assert not logits.grad.any()


def test_smooth_l1_is_quadratic_then_linear():
    # Errors 0.5, 1 and 3: 0.125, 0.5 and 2.5.
    loss = losses.smooth_l1(tensor([0.5, 1.0, 3.0]), tensor([0.0, 0.0, 0.0]))
    assert loss.item() == pytest.approx((0.125 + 0.5 + 2.5) / 3)


def test_smooth_l1_scale_makes_a_unit_range_train_like_one_to_ten():
    scores, labels = tensor([0.1, 0.9]), tensor([0.5, 0.8])
    unit = losses.smooth_l1(scores, labels, scale=9.0)
    native = losses.smooth_l1(1 + 9 * scores, 1 + 9 * labels)
    assert unit.item() == pytest.approx(native.item())


def test_emd_of_neighbours_is_smaller_than_of_strangers():
    # All mass one level away: one of four cumulative gaps is 1, root(1/4). Three levels away: root(3/4).
    target = tensor([[1.0, 0.0, 0.0, 0.0]])
    assert losses.emd(tensor([[0.0, 1.0, 0.0, 0.0]]), target).item() == pytest.approx(0.5)
    assert losses.emd(tensor([[0.0, 0.0, 0.0, 1.0]]), target).item() == pytest.approx(math.sqrt(0.75))
    assert losses.emd(tensor([[0.0, 0.0, 0.0, 1.0]]), target, r=1).item() == pytest.approx(0.75)


@pytest.mark.parametrize("form", [losses.emd, losses.batch_emd])
@pytest.mark.parametrize("r", [1, 2, 3])
def test_emd_gradient_is_zero_at_an_exact_match(form, r):
    target = torch.tensor([[0.2, 0.3, 0.5], [0.25, 0.25, 0.5]])
    probabilities = target.clone().requires_grad_()
    loss = form(probabilities, target, r=r)
    loss.backward()
    assert loss.item() == 0.0
    assert probabilities.grad.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_emd_with_exponent_1_is_the_published_loss_of_agree_on_histograms(vectors):
    entry = vectors["agree.emd_r1.ava"]
    given = entry["inputs"]
    for p, q, expected in zip(given["p"], given["q"], entry["expected"], strict=True):
        assert losses.emd(tensor([p]), tensor([q]), r=1).item() == pytest.approx(expected, abs=entry["tol"])


def test_emd_one_matching_row_does_not_spoil_the_other():
    target = tensor([[0.2, 0.3, 0.5], [0.0, 1.0, 0.0]])
    probabilities = tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]).requires_grad_()
    losses.emd(probabilities, target).backward()
    # Second row: gaps (1, 0, 0), distance root(1/3); its slope along gap 1 is 1 / (3 * root(1/3)), halved by the mean.
    slope = 1 / (3 * math.sqrt(1 / 3)) / 2
    assert probabilities.grad[0].tolist() == [0, 0, 0]
    assert probabilities.grad[1].tolist() == pytest.approx([slope, 0, 0])


@pytest.mark.parametrize("form", [losses.emd, losses.batch_emd, losses.soft_cross_entropy])
def test_distribution_loss_gradients(form):
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.randn(4, 5, generator=generator, dtype=torch.float64).softmax(dim=-1)
    assert torch.autograd.gradcheck(lambda given: form(given.softmax(dim=-1), target), (raw,))


def test_soft_cross_entropy_gradient_is_prediction_minus_target():
    logits = tensor([[0.0, 1.0, 2.0]]).requires_grad_()
    target = tensor([[0.5, 0.5, 0.0]])
    losses.soft_cross_entropy(logits, target).backward()
    assert logits.grad[0].tolist() == pytest.approx((logits.softmax(dim=-1) - target)[0].tolist())


def score_loss_cases():
    generator = torch.Generator().manual_seed(1)
    first = torch.randn(6, 5, generator=generator, dtype=torch.float64).softmax(dim=-1)
    second = torch.randn(6, 5, generator=generator, dtype=torch.float64).softmax(dim=-1)
    return [
        pytest.param(losses.smooth_l1, 10 * first[:, 0], 10 * second[:, 0], id="smooth_l1"),
        pytest.param(losses.soft_cross_entropy, first, second, id="soft_cross_entropy"),
        pytest.param(losses.emd, first, second, id="emd"),
    ]


@pytest.mark.parametrize(("loss", "predicted", "target"), score_loss_cases())
def test_parts_add_up_to_the_whole(loss, predicted, target):
    whole_input = predicted.clone().requires_grad_()
    whole = loss(whole_input, target)
    whole.backward()
    part_input = predicted.clone().requires_grad_()
    parts = sum(loss(part_input[rows], target[rows], num_items=6) for rows in (slice(0, 1), slice(1, 6), slice(6, 6)))
    parts.backward()
    assert parts.item() == pytest.approx(whole.item(), rel=1e-12)
    assert torch.allclose(part_input.grad, whole_input.grad, rtol=1e-12)


@pytest.mark.parametrize("num_items", [5, 5.0, torch.tensor(5)])
def test_text_parts_add_up_to_the_whole(num_items):
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    labels = torch.tensor([0, 1, -100, 2, 3, 0])
    whole = losses.text_cross_entropy(logits, labels)
    parts = sum(losses.text_cross_entropy(logits[rows], labels[rows], num_items) for rows in (slice(0, 3), slice(3, 6)))
    assert parts.item() == pytest.approx(whole.item(), rel=1e-12)


@pytest.mark.parametrize(("loss", "predicted", "target"), score_loss_cases())
def test_weights_multiply_rows_and_leave_the_denominator(loss, predicted, target):
    rows = [loss(predicted[i : i + 1], target[i : i + 1]).item() for i in range(6)]
    weights = tensor([0.5, 1.5, 1.0, 0.0, 2.0, 4.0])
    expected = sum(weight * row for weight, row in zip(weights.tolist(), rows, strict=True)) / 6
    assert loss(predicted, target, weights=weights).item() == pytest.approx(expected)
    assert loss(predicted, target, weights=torch.ones(6)).item() == pytest.approx(loss(predicted, target).item())


@pytest.mark.parametrize("num_items", [None, 0, 4])
def test_no_rows_give_a_zero_that_reaches_the_parameters(num_items):
    head = torch.nn.Parameter(torch.ones(5, 3))
    logits = torch.ones(0, 3) @ head.T  # (0, 5)
    probabilities = logits.softmax(dim=-1)
    targets = torch.ones(0, 5)
    total = (
        losses.text_cross_entropy(logits, torch.ones(0, dtype=torch.long), num_items)
        + losses.smooth_l1(logits[:, 0], targets[:, 0], num_items=num_items)
        + losses.soft_cross_entropy(logits, targets, num_items=num_items)
        + losses.emd(probabilities, targets, num_items=num_items)
        + losses.batch_emd(probabilities, targets)
    )
    total.backward()
    assert total.item() == 0.0
    assert head.grad is not None
    assert not head.grad.any()


@pytest.mark.parametrize(
    ("dtype", "computed"),
    [(torch.bfloat16, torch.float32), (torch.float16, torch.float32), (torch.float64, torch.float64)],
)
def test_computed_in_float32_at_least(dtype, computed):
    logits = torch.tensor([[0.0, 1.0, 3.0], [2.0, 0.0, 1.0]], dtype=dtype)
    targets = torch.tensor([[0.25, 0.25, 0.5], [0.5, 0.25, 0.25]], dtype=dtype)
    labels = torch.tensor([1, 0])
    results = {
        "text": (losses.text_cross_entropy(logits, labels), losses.text_cross_entropy(logits.double(), labels)),
        "l1": (losses.smooth_l1(logits[:, 1], labels), losses.smooth_l1(logits[:, 1].double(), labels)),
        "ce": (
            losses.soft_cross_entropy(logits, targets),
            losses.soft_cross_entropy(logits.double(), targets.double()),
        ),
        "emd": (losses.emd(targets.flip(0), targets), losses.emd(targets.flip(0).double(), targets.double())),
        "batch": (losses.batch_emd(targets.flip(0), targets), losses.batch_emd(targets.flip(0).double(), targets)),
    }
    for name, (low, exact) in results.items():
        assert low.dtype == computed, name
        assert low.item() == pytest.approx(exact.item(), rel=1e-6), name


@pytest.mark.parametrize("loss", [losses.soft_cross_entropy, losses.emd, losses.batch_emd])
def test_shapes_that_would_broadcast_are_refused(loss):
    with pytest.raises(ValueError, match=r"got shapes \(4, 5\) and \(1, 5\); expected \(M, N\) twice"):
        loss(torch.ones(4, 5), torch.ones(1, 5))


def test_other_wrong_input_is_refused():
    with pytest.raises(ValueError, match=r"got shapes \(4, 1\) and \(4,\); expected \(M,\) twice"):
        losses.smooth_l1(torch.ones(4, 1), torch.ones(4))
    with pytest.raises(ValueError, match="beta -1"):
        losses.smooth_l1(torch.ones(4), torch.ones(4), beta=-1)
    with pytest.raises(ValueError, match=r"expected \(n, V\) and \(n,\)"):
        losses.text_cross_entropy(torch.ones(1, 4, 7), torch.ones(1, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="one weight per row"):
        losses.smooth_l1(torch.ones(4), torch.ones(4), weights=torch.ones(4, 1))
    with pytest.raises(ValueError, match="num_items is 0, but there are rows here"):
        losses.smooth_l1(torch.ones(4), torch.ones(4), num_items=0)
    with pytest.raises(ValueError, match="exponent r 0.5"):
        losses.emd(torch.ones(1, 4) / 4, torch.ones(1, 4) / 4, r=0.5)


@pytest.mark.parametrize("name", ["red.delta_loss.a", "red.delta_loss.b"])
def test_the_loss_on_a_known_difference_reference(vectors, name):
    entry = vectors[name]
    given = entry["inputs"]
    apart, delta = tensor([given["v_edit"] - given["v_source"]]), tensor([given["delta"] / given["scale"]])
    loss = losses.smooth_l1(apart, delta, beta=given["beta"])
    assert loss.item() == pytest.approx(entry["expected"], abs=entry["tol"])


@pytest.mark.parametrize("name", ["glue.frank_loss.a", "glue.frank_loss.b"])
def test_frank_reference(vectors, name):
    """The first of the vector is our second picture: `p_c` is the share of its wins."""
    entry = vectors[name]
    given = entry["inputs"]
    means, variances = (tensor([[given[f"{kind}_j"], given[f"{kind}_i"]]]) for kind in ("m", "var"))
    loss = losses.frank(means, variances, tensor([given["p_c"]]), gamma=given["gamma"])
    assert loss.item() == pytest.approx(entry["expected"], abs=entry["tol"])


def test_frank_of_a_tie_a_certainty_and_no_pair():
    none = torch.zeros(2, 2)
    assert losses.frank(none, none, torch.tensor([0.5, 0.5])).item() == pytest.approx(0, abs=1e-6)
    means = torch.tensor([[0.0, 1.0], [1.0, 0.0]], requires_grad=True)
    parts = [losses.frank(means[i : i + 1], none[:1], torch.ones(1), num_items=2) for i in (0, 1)]
    assert [part.item() for part in parts] == pytest.approx([0, 0.5])  # right, and wrong with certainty
    sum(parts).backward()
    assert means.grad.isfinite().all()
    assert losses.frank(none[:0], none[:0], none[0, :0]).item() == 0
    with pytest.raises(ValueError, match=r"expected \(P, 2\), \(P, 2\) and \(P,\)"):
        losses.frank(none, none, torch.ones(1))
