"""One step of a run, by value: what clipping leaves of a huge gradient, and which weights the average takes in."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from edgeface.errors import ArtifactError  # noqa: E402
from trainer import checkpoint  # noqa: E402
from trainer.config import Config  # noqa: E402
from trainer.distributed import Group  # noqa: E402
from trainer.run_state import Run  # noqa: E402

RATE = 0.5
PLAIN = Config(
    input_size=32, stem=4, widths=(8,), depths=(1,), amp="off", channels_last=False, optimizer="sgd", momentum=0.0,
    weight_decay=0.0, schedule="constant", warmup=0.0, learning_rate=RATE,
)  # fmt: skip


def stepped(gradient: float, clip: float) -> tuple[Run, dict[str, torch.Tensor], int]:
    """A run after one step whose gradient is the same number everywhere; its weights before, and how many they are."""
    run = Run.start(PLAIN, steps=10, group=Group(0, 1, torch.device("cpu")))
    before = {name: weight.detach().clone() for name, weight in run.net.named_parameters()}
    for weight in run.net.parameters():
        weight.grad = torch.full_like(weight, gradient)
    run.step(clip)
    return run, before, sum(weight.numel() for weight in before.values())


@pytest.mark.parametrize(
    ("gradient", "clip"),
    [(1e6, 5.0), (1e6, 0.25), (1e-6, 5.0), (3.0, 0.0)],
    ids=["huge", "huge, another norm", "below the norm", "no clipping"],
)
def test_a_step_moves_the_weights_by_what_clipping_leaves(gradient: float, clip: float) -> None:
    run, before, count = stepped(gradient, clip)
    norm = gradient * count**0.5
    left = gradient * min(1.0, clip / norm) if clip else gradient
    for name, weight in run.net.named_parameters():
        moved = before[name].double() - weight.detach().double()
        assert torch.allclose(moved, torch.full_like(moved, RATE * left), rtol=1e-3, atol=2e-7), name
        assert weight.grad is None


def test_the_average_takes_in_the_weights_after_the_step() -> None:
    run, before, _ = stepped(1e6, 5.0)
    assert int(run.ema.n_averaged) == 1
    averages = dict(run.ema.module.named_parameters())
    for name, weight in run.net.named_parameters():
        assert torch.equal(averages[name], weight) and not torch.equal(weight, before[name]), name


def test_a_run_goes_on_from_its_own_state_and_refuses_another(tmp_path: Path) -> None:
    run, _, _ = stepped(1e6, 5.0)
    config = dataclasses.replace(PLAIN, out=str(tmp_path))
    checkpoint.save(run, config)
    fresh = Run.start(config, steps=10, group=run.group)
    checkpoint.load(fresh, config)
    assert int(fresh.ema.n_averaged) == 1
    for name, value in run.ema.module.state_dict().items():
        assert torch.equal(value, fresh.ema.module.state_dict()[name]), name
    state = checkpoint.read(checkpoint.checkpoint_path(config))
    for part in ("ema", "net"):
        torch.save({**state, part: {}}, checkpoint.checkpoint_path(config))
        with pytest.raises(ArtifactError, match=r"last.pt` holds no run that this trainer can go on with; start again"):
            checkpoint.load(fresh, config)
