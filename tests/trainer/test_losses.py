"""Losses against sums done by hand, and masks of missing labels."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from trainer.config import Config  # noqa: E402
from trainer.losses import (  # noqa: E402
    Targets,
    class_loss,
    distribution_loss,
    expectation_loss,
    interval_loss,
    soft_ages,
    total_loss,
)
from trainer.model import AGE_BINS, Logits  # noqa: E402

NAN = math.nan
ALL = torch.tensor([True])


def peak(age: int, height: float = 50.0) -> torch.Tensor:
    """Logits that put all probability on one year."""
    logits = torch.zeros(1, AGE_BINS)
    logits[0, age] = height
    return logits


@given(st.floats(0, 116), st.floats(0.5, 4))
def test_soft_ages_are_distributions_around_the_age(age: float, sigma: float) -> None:
    soft = soft_ages(torch.tensor([age]), sigma)
    assert soft.sum().item() == pytest.approx(1, abs=1e-5)
    assert abs(soft.argmax().item() - min(age, AGE_BINS - 1)) <= 0.5 + 1e-3


def test_a_perfect_distribution_costs_nothing() -> None:
    age = torch.tensor([31.4])
    assert distribution_loss(soft_ages(age, 2.0).clamp_min(1e-30).log(), age, 2.0).item() == pytest.approx(0, abs=1e-5)
    assert distribution_loss(peak(60, 5.0), age, 2.0).item() > 1


def test_expectation_is_in_years() -> None:
    assert expectation_loss(peak(30), torch.tensor([37.5])).item() == pytest.approx(7.5, abs=1e-3)


def test_interval_likelihood_sums_both_ends() -> None:
    even = torch.zeros(1, AGE_BINS)
    loss = interval_loss(even, torch.tensor([20]), torch.tensor([29]), ALL)
    assert loss.item() == pytest.approx(-math.log(10 / AGE_BINS), abs=1e-5)
    for age in (20, 29):
        assert interval_loss(peak(age), torch.tensor([20]), torch.tensor([29]), ALL).item() == pytest.approx(
            0, abs=1e-5
        )
    for age in (19, 30):
        assert interval_loss(peak(age), torch.tensor([20]), torch.tensor([29]), ALL).item() > 10


def test_an_open_interval_ends_with_the_last_bin() -> None:
    even = torch.zeros(1, AGE_BINS)
    loss = interval_loss(even, torch.tensor([70]), torch.tensor([120]), ALL)
    assert loss.item() == pytest.approx(-math.log((AGE_BINS - 70) / AGE_BINS), abs=1e-5)


def test_a_hopeless_interval_still_has_a_finite_loss_and_gradient() -> None:
    logits = peak(90, 1e4).requires_grad_()
    loss = interval_loss(logits, torch.tensor([0]), torch.tensor([2]), ALL)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


def test_class_weights_and_smoothing() -> None:
    logits, label = torch.tensor([[0.0, math.log(3)]]), torch.tensor([0])
    assert class_loss(logits, label, 0.0).item() == pytest.approx(math.log(4))
    assert class_loss(logits, label, 0.0, (2.0, 1.0)).item() == pytest.approx(2 * math.log(4))
    assert class_loss(logits, label, 0.1).item() < math.log(4)


def test_rows_without_a_label_do_not_count() -> None:
    torch.manual_seed(0)
    logits = Logits(torch.randn(4, AGE_BINS), torch.randn(4, 2), torch.randn(4, 5))
    targets = Targets(
        torch.tensor([30.0, NAN, 40.0, NAN]),
        torch.tensor([-1, 20, -1, -1]),
        torch.tensor([-1, 29, -1, -1]),
        torch.tensor([0, 1, -1, -1]),
        torch.tensor([2, 4, -1, -1]),
    )
    config = Config()
    whole = total_loss(logits, targets, config)
    first_two = Logits(*(part[:2] for part in logits))
    labels_of_two = Targets(targets.age[:2], targets.low[:2], targets.high[:2], targets.gender[:2], targets.race[:2])
    part = total_loss(first_two, labels_of_two, config)
    for name in ("interval", "gender", "race"):
        assert whole[name].item() == pytest.approx(part[name].item(), rel=1e-5), name
    assert whole["age"].item() != pytest.approx(part["age"].item(), rel=1e-3)  # the third row has an age


def test_a_batch_without_any_label_costs_nothing_and_has_gradients() -> None:
    age = torch.randn(2, AGE_BINS, requires_grad=True)
    nothing = torch.full((2,), -1)
    targets = Targets(torch.full((2,), NAN), nothing, nothing, nothing, nothing)
    losses = total_loss(Logits(age, torch.randn(2, 2), torch.randn(2, 5)), targets, Config())
    losses["total"].backward()
    assert losses["total"].item() == 0 and torch.isfinite(age.grad).all()


def test_an_exact_age_takes_precedence_over_its_interval() -> None:
    logits = Logits(torch.randn(1, AGE_BINS), torch.randn(1, 2), torch.randn(1, 5))
    both = Targets(torch.tensor([25.0]), *(torch.tensor([x]) for x in (20, 29, 0, 0)))
    assert total_loss(logits, both, Config())["interval"].item() == 0
