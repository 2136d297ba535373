"""Balancers against their papers' formulas, and their state across a resume."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from edgeface.errors import ConfigError  # noqa: E402
from tests.conftest import ROOT  # noqa: E402
from trainer.config import Config  # noqa: E402
from trainer.objective.balance import BALANCERS, Balancer, make_balancer  # noqa: E402
from trainer.objective.gradients import add_gradient, averaged, project_conflicts  # noqa: E402

TASKS = ("age", "gender", "race")


class Net(torch.nn.Module):
    """Shared numbers, then one number a task."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.body = torch.nn.Parameter(torch.randn(1, 4, generator=generator))
        self.heads = torch.nn.ParameterDict({t: torch.nn.Parameter(torch.randn(4, generator=generator)) for t in TASKS})

    def backbone_parameters(self) -> Iterator[torch.nn.Parameter]:
        yield self.body

    def losses(self) -> dict[str, torch.Tensor]:
        """Positive, of very different sizes and directions."""
        sizes = zip(TASKS, (100.0, 1.0, 0.01))
        return {task: size * (self.body[0] * self.heads[task] - 1).square().sum() for task, size in sizes}

    def gradients(self) -> list[torch.Tensor]:
        return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in self.parameters()]


def settle(balancer: Balancer, losses: Callable[[], dict[str, torch.Tensor]], steps: int) -> list[float]:
    """Descend on the balancing weights alone; what they end as."""
    optimizer = torch.optim.Adam(balancer.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        balancer.backward(losses())
        optimizer.step()
    return list(balancer.weights().values())


@pytest.mark.parametrize("name", BALANCERS)
def test_every_balancer_starts_from_the_recipe(name: str) -> None:
    config = Config(balance=name, age_weight=2.0, gender_weight=0.5, race_weight=0.25)
    assert make_balancer(config, Net()).weights() == pytest.approx({"age": 2.0, "gender": 0.5, "race": 0.25})


@pytest.mark.parametrize("name", [name for name in BALANCERS if name != "pcgrad"])
def test_the_network_descends_on_the_weighted_sum_with_extras_as_they_are(name: str) -> None:
    net, config = Net(), Config(balance=name, fairness_weight=0.5, distill_weight=3.0)
    losses = {**net.losses(), "fairness": net.body.sum(), "distill": net.body.square().sum()}
    plain = config.age_weight * losses["age"] + config.gender_weight * losses["gender"] + losses["race"]
    plain = plain + 0.5 * losses["fairness"] + 3.0 * losses["distill"]
    expected = torch.autograd.grad(plain, list(net.parameters()), retain_graph=True)
    make_balancer(config, net).backward(losses)
    for found, wanted in zip(net.gradients(), expected):
        assert torch.allclose(found, wanted, rtol=1e-4)


@pytest.mark.parametrize("name", BALANCERS)
def test_gradients_accumulate_and_scale(name: str) -> None:
    net, config = Net(), Config(balance=name, distill_weight=1.0)
    once, twice = make_balancer(config, net), make_balancer(config, net)
    total = once.backward({**net.losses(), "distill": net.body.sum()})
    single = net.gradients()
    net.zero_grad()
    for _ in range(2):
        again = twice.backward({**net.losses(), "distill": net.body.sum()}, lambda loss: loss * 512)
        assert again.item() == pytest.approx(total.item(), rel=1e-5) and not again.requires_grad
    for one, many in zip(single, net.gradients()):
        if name == "pcgrad":  # draws another order for the second part
            assert torch.isfinite(many).all() and many.any()
        else:
            assert torch.allclose(1024 * one, many, rtol=1e-4, atol=1e-3)


def test_learned_weights_stay_positive_keep_their_sum_and_settle_where_they_should() -> None:
    losses = {"age": torch.tensor(5.0), "gender": torch.tensor(0.2), "race": torch.tensor(0.5)}
    found = settle(make_balancer(Config(balance="learned", gender_weight=1.0), Net()), lambda: losses, 250)
    assert sum(found) == pytest.approx(3.0, rel=1e-4) and min(found) > 0
    offsets = [1 / weight - loss.item() for weight, loss in zip(found, losses.values())]
    assert offsets == pytest.approx([offsets[0]] * 3, abs=0.02)  # w = T·p / (loss + μ) with T·p = 1


def test_uncertainty_settles_where_every_task_contributes_one_half() -> None:
    losses = {"age": torch.tensor(5.0), "gender": torch.tensor(0.2), "race": torch.tensor(0.5)}
    balancer = make_balancer(Config(balance="uncertainty", age_loss="mse", age_head="regression"), Net())
    found = settle(balancer, lambda: losses, 250)  # d/ds (f·L·e^-s + s/2) = 0
    assert [w * loss.item() for w, loss in zip(found, losses.values())] == pytest.approx([0.5] * 3, rel=0.02)


def test_gradnorm_pulls_gradient_norms_together() -> None:
    net = Net()
    balancer = make_balancer(Config(balance="gradnorm"), net)

    def spread() -> float:
        pulls = [
            weight * torch.autograd.grad(loss, net.body)[0].norm().item()
            for weight, loss in zip(balancer.weights().values(), net.losses().values())
        ]
        return max(pulls) / min(pulls)

    before = spread()
    settle(balancer, net.losses, 250)
    assert before > 100 and spread() < 1.5
    assert sum(balancer.weights().values()) == pytest.approx(3.5, rel=1e-4)


def test_gradnorm_helps_the_task_that_lags() -> None:
    net = Net()
    balancer = make_balancer(Config(balance="gradnorm"), net)
    balancer.backward(net.losses())  # notes the first losses
    before = balancer.weights()
    balancer.first_losses[1] = 1e-3 * balancer.first_losses[1]  # gender has risen since, so it learns slowest
    net.zero_grad()
    settle(balancer, net.losses, 50)
    assert balancer.weights()["gender"] / balancer.weights()["race"] > before["gender"] / before["race"]


def test_gradnorm_rests_while_the_backbone_is_frozen_and_survives_a_task_without_labels() -> None:
    net = Net()
    balancer = make_balancer(Config(balance="gradnorm"), net)
    net.body.requires_grad_(False)
    balancer.backward(net.losses())
    assert balancer.logit.grad is None
    net.body.requires_grad_(True)
    balancer.backward({**net.losses(), "race": 0.0 * net.body.sum()})
    assert torch.isfinite(balancer.logit.grad).all() and balancer.first_losses[2] == 0
    balancer.backward(net.losses())
    assert balancer.first_losses[2] > 0


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(2, 4))
def test_surgery_leaves_nothing_against_the_other_task(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    gradients = [torch.randn(3, generator=generator) for _ in range(count)]
    projected = project_conflicts(gradients, torch.Generator().manual_seed(seed))
    if count == 2:
        for index, gradient in enumerate(projected):
            assert torch.dot(gradient, gradients[1 - index]) >= -1e-5
    for gradient, original in zip(projected, gradients):
        others = [torch.dot(original, other) for other in gradients if other is not original]
        if min(others) >= 0:
            assert torch.equal(gradient, original)  # who is in no one's way stays
        assert any(torch.dot(gradient, other) >= -1e-5 for other in gradients if other is not original)


def test_surgery_in_a_network() -> None:
    net = Net()
    config = Config(tasks=("age", "gender"), balance="pcgrad", gender_weight=1.0)
    against = {"age": net.body[0, 0] + net.heads["age"].sum(), "gender": net.body[0, 1] - net.body[0, 0]}
    balancer = make_balancer(config, net)
    balancer.backward(against)
    # (1, 0) and (-1, 1) become (1/2, 1/2) and (0, 1)
    assert net.body.grad[0].tolist() == pytest.approx([0.5, 1.5, 0.0, 0.0])
    assert net.heads["age"].grad.tolist() == [1.0] * 4 and net.heads["gender"].grad is None


def test_surgery_keeps_the_memory_layout_of_weights() -> None:
    conv = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    expected = torch.randn(conv.weight.shape)
    add_gradient(conv.weight, expected)
    add_gradient(conv.weight, expected)
    assert torch.equal(conv.weight.grad, 2 * expected) and conv.weight.grad.stride() == conv.weight.stride()


def test_surgery_needs_no_backbone() -> None:
    net = Net()
    net.body.requires_grad_(False)
    make_balancer(Config(balance="pcgrad"), net).backward(net.losses())
    assert net.body.grad is None and all(head.grad.any() for head in net.heads.values())


@settings(max_examples=20)
@given(st.lists(st.floats(0.05, 10), min_size=6, max_size=6))
def test_dynamic_average_follows_its_formula(values: list[float]) -> None:
    balancer = make_balancer(Config(balance="dwa", gender_weight=0.5), Net())
    first, second = (dict(zip(TASKS, part)) for part in (values[:3], values[3:]))
    balancer.end_epoch(first)
    assert balancer.weights() == {"age": 1.0, "gender": 0.5, "race": 1.0}
    balancer.end_epoch(second)
    powers = {
        task: math.exp(second[task] / first[task] / 2.0) if second[task] / first[task] < 1000 else math.inf
        for task in TASKS
    }
    if math.isfinite(sum(powers.values())):
        expected = {task: 3 * powers[task] / sum(powers.values()) for task in TASKS}
        expected["gender"] *= 0.5
        assert balancer.weights() == pytest.approx(expected, rel=1e-3, abs=1e-6)


HALF = """
import sys
import torch
import torch.distributed as dist
from tests.trainer.objective.test_balance import gradients_of_half
rank = int(sys.argv[1])
dist.init_process_group("gloo", f"file://{sys.argv[2]}", rank=rank, world_size=2)
torch.save({name: gradients_of_half(name, rank) for name in ("pcgrad", "gradnorm")}, sys.argv[3])
dist.destroy_process_group()
"""


def pulls() -> torch.Tensor:
    """What each half of a batch wants of the shared numbers for each task: ``[2, 3, 4]``, conflicts included."""
    return torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(3))


def gradients(name: str, pull: torch.Tensor) -> list[torch.Tensor]:
    """What a balancer leaves of losses that pull like this."""
    net = Net()
    balancer = make_balancer(Config(balance=name), net)
    balancer.backward({t: 20 + net.body[0] @ pull[i] + net.heads[t].sum() for i, t in enumerate(TASKS)})
    return [p.grad for p in [*net.parameters(), *balancer.parameters()]]


def gradients_of_half(name: str, rank: int) -> list[torch.Tensor]:
    """What this process's half of a batch leaves, averaged as the training loop does."""
    return averaged(gradients(name, pulls()[rank]))


def test_two_processes_balance_the_whole_batch(tmp_path: Path) -> None:
    """Both projections and norms are of the whole batch's gradients, not the mean of each half's."""
    command = [sys.executable, "-c", HALF]
    jobs = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store"), str(tmp_path / f"{rank}.pt")], cwd=ROOT)
        for rank in (0, 1)
    ]
    assert [job.wait(timeout=300) for job in jobs] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for name in first:
        whole = gradients(name, pulls().mean(dim=0))
        for one, other, both in zip(first[name], second[name], whole):
            assert torch.equal(one, other) and torch.allclose(one, both, rtol=1e-4, atol=1e-4), name


@pytest.mark.parametrize("name", BALANCERS)
def test_state_resumes_exactly(name: str) -> None:
    def epoch(balancer: Balancer, net: Net, optimizer: torch.optim.Optimizer, number: int) -> None:
        for _ in range(3):
            optimizer.zero_grad()
            balancer.backward(net.losses())
            optimizer.step()
        balancer.end_epoch({"age": 9.0 / number, "gender": 3.0, "race": 1.0 + number})

    def fresh() -> tuple[Net, Balancer, torch.optim.Optimizer]:
        net = Net()
        balancer = make_balancer(Config(balance=name), net)
        return net, balancer, torch.optim.Adam([*net.parameters(), *balancer.parameters()], 0.01)

    whole, broken, resumed = fresh(), fresh(), fresh()
    for number in (1, 2, 3, 4):
        epoch(whole[1], whole[0], whole[2], number)
    for number in (1, 2):
        epoch(broken[1], broken[0], broken[2], number)
    for old, new in zip(broken, resumed):
        new.load_state_dict(old.state_dict())
    for number in (3, 4):
        epoch(resumed[1], resumed[0], resumed[2], number)
    assert all(torch.equal(a, b) for a, b in zip(whole[0].parameters(), resumed[0].parameters()))
    assert whole[1].weights() == resumed[1].weights()


def test_masks_are_a_task_of_their_own() -> None:
    balancer = make_balancer(Config(balance="uncertainty", decoder=True, mask_weight=0.3), Net())
    assert balancer.weights()["mask"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (Config(balance="fair"), "`balance`: expected fixed or learned or .* or dwa, found fair"),
        (Config(balance="learned", age_weight=0.0), "`age_weight`: expected above 0 to start balance learned, found 0"),
        (Config(balance="pcgrad", compile=True), "`compile`: expected false with balance pcgrad, which goes"),
    ],
)
def test_balancing_that_cannot_work(config: Config, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make_balancer(config, Net())
