"""Groups, rates and stages: against torch's own schedule, and at the steps where something changes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from edgeface.errors import ConfigError  # noqa: E402
from trainer.config import Config  # noqa: E402
from trainer.models import build_net  # noqa: E402
from trainer.objective.balance import make_balancer  # noqa: E402
from trainer.objective.optim import SCHEDULES, Schedule, make_optimizer, set_stage  # noqa: E402

SMALL = Config(input_size=32, stem=4, widths=(8,), depths=(1,), epochs=4, learning_rate=1e-2)
STEPS = 10


def start(**changes: Any) -> tuple[Config, Any, torch.optim.Optimizer, Schedule]:
    config = dataclasses.replace(SMALL, **changes)
    net = build_net(config)
    optimizer = make_optimizer(config, net, make_balancer(config, net))
    return config, net, optimizer, Schedule(config, optimizer, STEPS)


def rates(schedule: Schedule, count: int) -> list[float]:
    found = []
    for _ in range(count):
        found.append(schedule.rate)
        schedule.step()
    return found


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_one_cycle_is_torch_s(name: str) -> None:
    _, _, optimizer, schedule = start(optimizer=name)
    weight = torch.nn.Parameter(torch.zeros(1))
    reference = {"adamw": torch.optim.AdamW, "sgd": lambda *a, **k: torch.optim.SGD(*a, momentum=0.9, **k)}[name]
    other = reference([weight], lr=1e-2)
    expected = torch.optim.lr_scheduler.OneCycleLR(other, 1e-2, total_steps=4 * STEPS, pct_start=SMALL.warmup)
    for _ in range(4 * STEPS - 1):
        group, wanted = optimizer.param_groups[0], other.param_groups[0]
        assert group["lr"] == pytest.approx(wanted["lr"], rel=1e-6)
        momentum, of_torch = ((g["betas"][0] if "betas" in g else g["momentum"]) for g in (group, wanted))
        assert momentum == pytest.approx(of_torch, rel=1e-6)
        schedule.step()
        other.step()
        expected.step()


def test_every_parameter_is_in_one_group_and_only_weights_decay() -> None:
    config, net, optimizer, _ = start(balance="learned", backbone_rate=0.1, schedule="constant", warmup=0.0)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len(set(held)) == len(list(net.parameters())) + 1
    for group in optimizer.param_groups:
        decays = group["name"] != "balance" and all(p.ndim > 1 for p in group["params"])
        assert group["weight_decay"] == (config.weight_decay if decays else 0.0)
        expected = {"backbone": 1e-3, "heads": 1e-2, "balance": 0.01}[group["name"]]
        assert group["lr"] == pytest.approx(expected)


def test_the_balance_s_rate_and_momentum_stay() -> None:
    _, _, optimizer, schedule = start(balance="learned")
    rates(schedule, 20)
    group = optimizer.param_groups[-1]
    assert (group["name"], group["lr"], group["betas"][0]) == ("balance", 0.01, 0.9)
    _, _, optimizer, schedule = start(balance="learned", optimizer="sgd")
    rates(schedule, 20)
    assert [group["momentum"] for group in optimizer.param_groups][-1] == 0.0


def test_cosine_rises_in_a_line_and_falls_to_nothing() -> None:
    found = rates(start(schedule="cosine", warmup=0.25)[3], 4 * STEPS)
    assert found[0] == 0 and max(found) == pytest.approx(1e-2) and found[-1] == pytest.approx(0, abs=1e-9)
    assert found.index(max(found)) == 9  # the tenth of forty steps
    assert found[3] == pytest.approx(found[6] / 2)
    assert found[10:] == sorted(found[10:], reverse=True)
    assert rates(start(schedule="cosine", warmup=0.0)[3], 1) == [1e-2]


def test_a_plateau_halves_the_rate() -> None:
    _, _, _, schedule = start(schedule="plateau", plateau_patience=1, warmup=0.0)
    seen = []
    for score in (5.0, 4.0, 4.5, 4.5, 4.2, 4.1):
        rates(schedule, STEPS)
        schedule.end_epoch(score)
        seen.append(schedule.rate)
    assert seen == pytest.approx([1e-2, 1e-2, 1e-2, 5e-3, 5e-3, 2.5e-3])
    schedule.end_epoch(None)
    assert schedule.rate == pytest.approx(2.5e-3)


def test_frozen_epochs_have_a_rate_of_their_own() -> None:
    _, _, optimizer, schedule = start(schedule="constant", warmup=0.0, frozen_epochs=1, frozen_rate=0.5)
    assert rates(schedule, STEPS) == [0.5] * STEPS
    assert rates(schedule, STEPS) == [1e-2] * STEPS
    _, _, _, same = start(schedule="cosine", warmup=0.0, frozen_epochs=1)
    found = rates(same, 4 * STEPS)
    assert found[: STEPS + 1] == [1e-2] * (STEPS + 1) and found[-1] == pytest.approx(0, abs=1e-9)
    assert optimizer.param_groups[0]["lr"] == 1e-2


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_resumes_exactly(name: str) -> None:
    changes = {"schedule": name, "frozen_epochs": 1, "plateau_patience": 0}
    whole, broken, resumed = (start(**changes) for _ in range(3))
    for run in (whole, broken):
        rates(run[3], 2 * STEPS)
        run[3].end_epoch(1.0)
        rates(run[3], STEPS)
        run[3].end_epoch(2.0)
    resumed[3].load_state_dict(broken[3].state_dict())
    assert [g["lr"] for g in resumed[2].param_groups] == [g["lr"] for g in whole[2].param_groups]
    assert rates(resumed[3], STEPS) == rates(whole[3], STEPS)


def test_a_frozen_backbone_stays_as_it_is() -> None:
    config, net, optimizer, _ = start(frozen_epochs=1, backbone="plain_bn", schedule="constant", warmup=0.0)
    crops = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    before = {name: value.clone() for name, value in net.state_dict().items()}

    def step(epoch: int) -> dict[str, bool]:
        net.train()
        assert set_stage(config, net, epoch) == (epoch == 0)
        optimizer.zero_grad()
        sum(raw.square().mean() for raw in net(crops).values()).backward()
        optimizer.step()
        return {name: not torch.equal(value, before[name]) for name, value in net.state_dict().items()}

    changed = step(0)
    assert not any(moved for name, moved in changed.items() if name.startswith("body."))
    assert all(moved for name, moved in changed.items() if name.split(".")[0] in ("age", "gender", "race"))
    changed = step(1)
    assert all(moved for name, moved in changed.items() if name.startswith("body.") and "weight" in name)
    assert any(moved for name, moved in changed.items() if "running_mean" in name)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"optimizer": "lion"}, "`optimizer`: expected adamw or adam or sgd, found lion"),
        ({"schedule": "step"}, "`schedule`: expected onecycle or .* or constant, found step"),
    ],
)
def test_names_that_do_not_exist(changes: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        start(**changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"warmup": 1.0}, "`warmup`: expected 0 to below 1, found 1.0"),
        ({"backbone_rate": 0.0}, "`backbone_rate`: expected above 0, found 0.0"),
        ({"age_weight": -1.0}, "`age_weight`: expected 0 or more, found -1.0"),
        ({"frozen_epochs": 5}, "`frozen_epochs`: expected 0 to the 4 epochs there are, found 5"),
        ({"schedule": "plateau", "validation_folds": ()}, "`schedule`: expected another one where no validation_folds"),
        ({"race_class_weights": (1.0, 1.0, 0.0, 1.0, 1.0)}, "`race_class_weights`: expected numbers above 0"),
        ({"class_weighting": "balanced"}, "`class_weighting`: expected fixed or inverse, found balanced"),
        ({"projector": ()}, "`projector`: expected a width a layer"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        dataclasses.replace(SMALL, **changes)
