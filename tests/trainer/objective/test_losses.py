"""Losses against sums done by hand, and masks of missing labels."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from edgeface.errors import ConfigError  # noqa: E402
from trainer.config import Config  # noqa: E402
from trainer.objective.age_losses import (  # noqa: E402
    AGE_LOSSES,
    distribution_loss,
    huber_loss,
    interval_loss,
    ordinal_loss,
    soft_ages,
)
from trainer.objective.losses import (  # noqa: E402
    GENDER_LOSSES,
    RACE_LOSSES,
    Targets,
    binary_cross_entropy,
    check,
    cross_entropy,
    focal_loss,
    group_spread,
    mask_loss,
    task_losses,
    with_class_weights,
)

NAN, YEARS = math.nan, 101
DEFAULTS = Config()
GROUPS = Config(age_head="groups", age_loss="cross-entropy")
WIDTHS = {"distribution": YEARS, "regression": 1, "ordinal": 100, "groups": 6}
PAIRS = [(head, name) for name, loss in AGE_LOSSES.items() for head in sorted(loss.heads)]


def peak(age: int, height: float = 50.0) -> torch.Tensor:
    """Logits that put all probability on one year."""
    logits = torch.zeros(1, YEARS)
    logits[0, age] = height
    return logits


def ages(*values: float) -> torch.Tensor:
    return torch.tensor(values)


def labels(age: float = NAN, low: int = -1, high: int = -1, gender: int = -1, race: int = -1) -> Targets:
    """The labels of one image."""
    return Targets(ages(age), *(torch.tensor([x]) for x in (low, high, gender, race)))


def stacked(*rows: Targets) -> Targets:
    names = ("age", "low", "high", "gender", "race")
    return Targets(*(torch.cat([getattr(row, name) for row in rows]) for name in names))


def outputs(count: int, config: Config = DEFAULTS, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    widths = {"age": WIDTHS[config.age_head], "gender": 1 if config.gender_head == "sigmoid" else 2, "race": 5}
    return {task: torch.randn(count, width, generator=generator) for task, width in widths.items()}


@settings(max_examples=30)
@given(st.floats(0, 116), st.floats(0.5, 4))
def test_soft_ages_are_distributions_around_the_age(age: float, sigma: float) -> None:
    soft = soft_ages(ages(age), sigma, YEARS)
    assert soft.sum().item() == pytest.approx(1, abs=1e-5)
    assert abs(soft.argmax().item() - min(age, YEARS - 1)) <= 0.5 + 1e-3


def test_a_perfect_distribution_costs_nothing() -> None:
    age, plain = ages(31.4), Config(age_l1=0.0)
    perfect = soft_ages(age, 2.0, YEARS).clamp_min(1e-30).log()
    assert distribution_loss(perfect, age, age, plain).item() == pytest.approx(0, abs=1e-5)
    assert distribution_loss(peak(60, 5.0), age, age, plain).item() > 1


def test_the_expectation_is_in_years() -> None:
    age = ages(37.5)
    with_error, without = (distribution_loss(peak(30), age, age, Config(age_l1=weight)) for weight in (2.0, 0.0))
    assert (with_error - without).item() == pytest.approx(2 * 7.5, abs=1e-3)


def test_an_interval_s_likelihood_sums_both_ends() -> None:
    even = torch.zeros(1, YEARS)
    assert interval_loss(even, ages(20), ages(29), DEFAULTS).item() == pytest.approx(-math.log(10 / YEARS), abs=1e-5)
    assert interval_loss(even, ages(70), ages(120), DEFAULTS).item() == pytest.approx(-math.log(31 / YEARS), abs=1e-5)
    for age in (20, 29):
        assert interval_loss(peak(age), ages(20), ages(29), DEFAULTS).item() == pytest.approx(0, abs=1e-5)
    for age in (19, 30):
        assert interval_loss(peak(age), ages(20), ages(29), DEFAULTS).item() > 10


def test_an_interval_s_likelihood_sums_the_age_groups_that_it_touches() -> None:
    even = torch.zeros(1, 6)
    for low, high, count in ((20.0, 29.0, 2), (70.0, 120.0, 1), (0.0, 120.0, 6), (24.9, 24.9, 1), (25.0, 25.0, 1)):
        loss = interval_loss(even, ages(low), ages(high), GROUPS)
        assert loss.item() == pytest.approx(-math.log(count / 6), abs=1e-5), (low, high)
    sure = torch.tensor([[0.0, 0, 50, 0, 0, 0]])  # 15 to 24
    assert interval_loss(sure, ages(24.9), ages(24.9), GROUPS).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("raw", "expected"), [(15.0, 5.0), (20.0, 0.0), (24.0, 0.0), (29.0, 0.0), (36.0, 7.0)])
def test_a_regressed_age_is_free_inside_its_interval(raw: float, expected: float) -> None:
    config = Config(age_head="regression", age_scale=10.0)
    answer, span = torch.tensor([[raw]]), (ages(20), ages(29))
    assert AGE_LOSSES["l1"].function(answer, *span, config).item() == pytest.approx(expected / 10)
    assert AGE_LOSSES["mse"].function(answer, *span, config).item() == pytest.approx((expected / 10) ** 2)
    assert huber_loss(answer, *span, config).item() == pytest.approx((expected / 10) ** 2 / 2)
    assert huber_loss(answer + 30, *span, config).item() > huber_loss(answer, *span, config).item()


def test_ordinal_questions_are_those_that_the_label_answers() -> None:
    config = Config(age_head="ordinal", age_loss="ordinal")
    right = torch.where(torch.arange(100) < 31, 50.0, -50.0)[None]
    assert ordinal_loss(right, ages(31.4), ages(31.4), config).item() == pytest.approx(0, abs=1e-5)
    undecided = torch.zeros(1, 100)
    assert ordinal_loss(undecided, ages(31), ages(31), config).item() == pytest.approx(100 * math.log(2), rel=1e-5)
    assert ordinal_loss(undecided, ages(20), ages(29), config).item() == pytest.approx(91 * math.log(2), rel=1e-5)
    for age in (20, 25, 29):
        inside = torch.where(torch.arange(100) < age, 50.0, -50.0)[None]
        assert ordinal_loss(inside, ages(20), ages(29), config).item() == pytest.approx(0, abs=1e-5)
    below = torch.where(torch.arange(100) < 18, 50.0, -50.0)[None]
    assert ordinal_loss(below, ages(20), ages(29), config).item() == pytest.approx(2 * 50, rel=1e-3)


def test_shared_weights_learn_ordered_thresholds() -> None:
    """CORAL's theorem: of the best biases none is larger than the one before it."""
    config = Config(age_head="ordinal", age_loss="ordinal")
    generator = torch.Generator().manual_seed(0)
    known = torch.randint(0, 8, (64,), generator=generator).float()
    score = known + torch.randn(64, generator=generator)
    bias = torch.randn(8, generator=generator).requires_grad_()
    optimizer = torch.optim.LBFGS([bias], max_iter=100)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = ordinal_loss(score[:, None] + bias, known, known, config).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert (bias.detach().diff() < 0).all()


def test_a_hopeless_interval_still_has_a_finite_loss_and_gradient() -> None:
    logits = peak(90, 1e4).requires_grad_()
    loss = interval_loss(logits, ages(0), ages(2), DEFAULTS)
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(logits.grad).all()


def test_class_weights_and_smoothing() -> None:
    logits, label = torch.tensor([[0.0, math.log(3)]]), torch.tensor([0])
    plain = Config(label_smoothing=0.0)
    assert cross_entropy(logits, label, None, plain).item() == pytest.approx(math.log(4))
    assert cross_entropy(logits, label, (2.0, 1.0), plain).item() == pytest.approx(2 * math.log(4))
    assert cross_entropy(logits, label, None, Config(label_smoothing=0.1)).item() < math.log(4)


@pytest.mark.parametrize("label", [0, 1])
def test_one_output_is_the_log_odds_of_class_one(label: int) -> None:
    config, known = Config(label_smoothing=0.1, focal_gamma=2.0), torch.tensor([label])
    one, two = torch.tensor([[0.7]]), torch.tensor([[0.0, 0.7]])
    assert binary_cross_entropy(one, known, None, config).item() == pytest.approx(
        cross_entropy(two, known, None, config).item()
    )
    assert focal_loss(one, known, None, config).item() == pytest.approx(focal_loss(two, known, None, config).item())


def test_focal_loss_forgets_what_is_right() -> None:
    logits, label = torch.tensor([[0.0, math.log(3)]]), torch.tensor([1])
    assert focal_loss(logits, label, None, Config(focal_gamma=0.0)).item() == pytest.approx(-math.log(0.75))
    assert focal_loss(logits, label, None, Config(focal_gamma=2.0)).item() == pytest.approx(
        -math.log(0.75) * 0.25**2, rel=1e-5
    )
    assert focal_loss(logits, label, (1.0, 3.0), Config(focal_gamma=0.0)).item() == pytest.approx(-3 * math.log(0.75))


@pytest.mark.parametrize(("head", "name"), PAIRS)
@settings(max_examples=12)
@given(seed=st.integers(0, 2**31))
def test_rows_without_a_label_change_nothing(head: str, name: str, seed: int) -> None:
    config = Config(age_head=head, age_loss=name, fairness_weight=1.0, interval_weight=0.5)
    random = np.random.default_rng(seed)
    rows = [
        labels(float(random.uniform(0, 116)), gender=int(random.integers(-1, 2)), race=int(random.integers(-1, 5))),
        labels(low=20, high=29, gender=int(random.integers(-1, 2))),
        labels(float(random.integers(0, 116)), 20, 29, race=int(random.integers(-1, 5))),
    ]
    known, unknown = stacked(*rows), stacked(*rows, labels(), labels())
    logits = outputs(5, config, seed)
    part = task_losses({task: raw[:3] for task, raw in logits.items()}, known, config)
    leaves = {task: raw.requires_grad_() for task, raw in logits.items()}
    whole = task_losses(leaves, unknown, config)
    assert list(whole) == ["age", "gender", "race", "fairness"]
    for task, loss in whole.items():
        assert loss.item() == pytest.approx(part[task].item(), rel=1e-4, abs=1e-6), task
    torch.stack(list(whole.values())).sum().backward()
    for raw in leaves.values():
        assert torch.isfinite(raw.grad).all() and not raw.grad[3:].any()


def test_a_batch_without_any_label_costs_nothing_and_has_gradients() -> None:
    logits = {task: raw.requires_grad_() for task, raw in outputs(2).items()}
    losses = task_losses(logits, stacked(labels(), labels()), DEFAULTS)
    torch.stack(list(losses.values())).sum().backward()
    assert all(loss.item() == 0 for loss in losses.values())
    assert all(not raw.grad.any() for raw in logits.values())


def test_an_exact_age_takes_precedence_over_its_interval() -> None:
    logits = outputs(1)
    exact, both = (task_losses(logits, label, DEFAULTS) for label in (labels(25.0), labels(25.0, 20, 29)))
    assert exact["age"].item() == both["age"].item() != task_losses(logits, labels(low=20, high=29), DEFAULTS)["age"]


def test_exact_ages_and_intervals_are_means_of_their_own() -> None:
    logits, config = outputs(3), Config(interval_weight=0.25)
    rows = [labels(30.0), labels(40.0), labels(low=20, high=29)]
    alone = [
        task_losses({k: v[i : i + 1] for k, v in logits.items()}, row, config)["age"] for i, row in enumerate(rows)
    ]
    whole = task_losses(logits, stacked(*rows), config)["age"]
    assert whole.item() == pytest.approx(((alone[0] + alone[1]) / 2 + alone[2]).item(), rel=1e-5)
    likelihood = interval_loss(logits["age"][2:], ages(20), ages(29), config)
    assert alone[2].item() == pytest.approx(0.25 * likelihood.item(), rel=1e-5)


def test_only_the_tasks_of_the_recipe_cost() -> None:
    config = Config(tasks=("gender",), gender_head="sigmoid", gender_loss="bce")
    assert list(task_losses({"gender": torch.zeros(1, 1)}, labels(30.0, gender=1, race=2), config)) == ["gender"]


def test_fairness_is_the_spread_between_groups() -> None:
    values, group = torch.tensor([1.0, 3.0, 6.0, 6.0, 99.0, 50.0]), torch.tensor([0, 0, 7, 7, 3, -1])
    assert group_spread(values, group).item() == pytest.approx(
        2.0
    )  # means 2 and 6; a lone row and an unknown do not count
    assert group_spread(values, torch.full((6,), -1)).item() == pytest.approx(0, abs=1e-5)
    assert stacked(labels(gender=1, race=3), labels(gender=0, race=-1)).group.tolist() == [8, -1]


def test_masks_are_pixels_of_their_own() -> None:
    raw = torch.tensor([50.0, -50.0])[None, None, None].expand(1, 1, 2, 2)
    mask = torch.tensor([[[255, 0], [255, 0]]], dtype=torch.uint8)
    assert mask_loss(raw, mask).item() == pytest.approx(0, abs=1e-5)
    assert mask_loss(raw, 255 - mask).item() == pytest.approx(50)
    with pytest.raises(ValueError, match="loaded without masks"):
        mask_loss(raw, None)


def test_inverse_class_weights_make_classes_count_the_same() -> None:
    race = np.array([0] * 60 + [1] * 20 + [2] * 15 + [3] * 5 + [-1] * 9)
    config = with_class_weights(Config(class_weighting="inverse"), race)
    assert config.race_class_weights[:4] == pytest.approx((100 / 300, 1.0, 100 / 75, 4.0))
    assert config.race_class_weights[4] == 1.0  # no image: nothing to weigh
    assert with_class_weights(DEFAULTS, race) is DEFAULTS


def test_targets_of_other_rows() -> None:
    targets = dataclasses.replace(stacked(labels(30.0, gender=1), labels(40.0)), mask=torch.zeros(2, 4, 4))
    swapped = targets[torch.tensor([1, 0])].to(torch.device("cpu"))
    assert swapped.age.tolist() == [40.0, 30.0] and swapped.gender.tolist() == [-1, 1]
    assert swapped.mask is not None and swapped.mask.shape == (2, 4, 4)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"age_loss": "mae"}, "`age_loss`: expected distribution or .* or ordinal, found mae"),
        ({"age_head": "ordinal"}, "`age_loss`: age_head ordinal learns by ordinal, found distribution"),
        ({"gender_loss": "bce"}, "`gender_loss`: gender_head softmax learns by cross-entropy or focal, found bce"),
        ({"race_loss": "bce"}, "`race_loss`: expected cross-entropy or focal, found bce"),
    ],
)
def test_losses_that_do_not_suit(settings: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        check(Config(**settings))


def test_a_loss_of_a_task_that_the_recipe_does_not_have_is_no_matter() -> None:
    check(Config(tasks=("age",), gender_loss="bce"))
    assert set(RACE_LOSSES) < set(GENDER_LOSSES)
