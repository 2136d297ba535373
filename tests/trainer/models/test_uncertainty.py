"""Ensembles: means, spreads, and what they refuse."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from edgeface.errors import ConfigError  # noqa: E402
from trainer.config import Config  # noqa: E402
from trainer.models import AttributeNet, build_net  # noqa: E402
from trainer.models.calibration_values import Calibration  # noqa: E402
from trainer.models.heads import Answer  # noqa: E402
from trainer.models.uncertainty import Ensemble, mixture_of  # noqa: E402

SMALL = Config(input_size=32, stem=4, widths=(8, 16), depths=(1, 1))


def net_of(seed: int = 0, **settings: object) -> AttributeNet:
    torch.manual_seed(seed)
    return build_net(dataclasses.replace(SMALL, **settings)).eval()  # type: ignore[arg-type]


def crops(count: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@given(st.lists(st.tuples(st.floats(0, 99), st.floats(0.1, 20)), min_size=1, max_size=5))
def test_a_mixtures_spread_is_that_of_its_samples(members: list[tuple[float, float]]) -> None:
    answers = [(torch.tensor([age]), torch.tensor([std])) for age, std in members]
    mean, spread = mixture_of(["age", "age_std"], answers)
    ages = torch.tensor([age for age, _ in members], dtype=torch.float64)
    squares = torch.tensor([age**2 + std**2 for age, std in members], dtype=torch.float64)  # E[age²] of each member
    assert mean["age"].item() == pytest.approx(ages.mean().item(), rel=1e-4, abs=1e-4)
    assert mean["age_std"].item() ** 2 == pytest.approx((squares.mean() - ages.mean() ** 2).item(), rel=1e-3)
    assert spread["age"].item() == pytest.approx(ages.std(unbiased=False).item(), rel=1e-3, abs=1e-3)
    assert "age_std" not in spread


def test_an_ensemble_answers_the_mean_of_its_members_calibrated_answers() -> None:
    nets = [net_of(), net_of(1, gender_head="sigmoid", age_head="ordinal"), net_of(2, backbone="plain")]
    nets[0].calibration = Calibration(gender_temperature=3.0)
    ensemble = Ensemble(nets, Calibration(age_std_scale=2.0)).eval()
    with torch.inference_mode():
        single = [Answer(net)(crops()) for net in nets]
        age, std, gender, race = ensemble(crops())
        mixture = ensemble.mixture(crops())
    assert torch.allclose(age, sum(answer[0] for answer in single) / 3)
    assert torch.allclose(gender, sum(answer[2] for answer in single) / 3)
    assert torch.allclose(race.sum(1), torch.ones(3)) and torch.allclose(std, 2 * mixture.mean["age_std"])
    assert (mixture.spread["age"] > 0).all() and mixture.spread["race"].shape == (3, 5)


def test_one_member_changes_nothing() -> None:
    net = net_of()
    with torch.inference_mode():
        for one, same in zip(Ensemble([net]).eval()(crops()), Answer(net)(crops())):
            assert torch.allclose(one, same, atol=1e-4)


def test_members_that_want_other_crops_or_say_other_things() -> None:
    with pytest.raises(ConfigError, match=r"ensemble: every network needs the same tasks, found .*\('age',\)"):
        Ensemble([net_of(), net_of(tasks=("age",))])
    with pytest.raises(ConfigError, match=r"needs the same input_size, found \[32, 48\]"):
        Ensemble([net_of(), net_of(input_size=48)])
    with pytest.raises(ConfigError, match="an ensemble needs a network"):
        Ensemble([])
