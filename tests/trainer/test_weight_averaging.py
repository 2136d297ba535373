"""Weights averaged between two runs, on real little networks and images made here."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from typer.testing import CliRunner  # noqa: E402

from edgeface.errors import ConfigError  # noqa: E402
from tests.trainer.people import make_people  # noqa: E402
from trainer.__main__ import app  # noqa: E402
from trainer.config import Config  # noqa: E402
from trainer.models import build_net, load_net  # noqa: E402
from trainer.weight_averaging import average_runs  # noqa: E402


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("averaging")
    people = make_people(folder / "utkface")
    return Config(
        stem=4, widths=(8, 8), depths=(1, 1), input_size=32, batch=16, utkface=(str(people),), fairface=(),
        cache=str(folder / "cache"), soft_labels="elsewhere.safetensors", embedding=3,
    )  # fmt: skip


def checkpoint(path: Path, config: Config, seed: int) -> Path:
    torch.manual_seed(seed)
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in config.to_dict().items()}
    torch.save({"config": plain, "ema": build_net(config).state_dict(), "best": None}, path)
    return path


def test_weights_lie_between_and_statistics_are_measured(config: Config, tmp_path: Path) -> None:
    first, second = (checkpoint(tmp_path / f"{seed}.pt", config, seed) for seed in (1, 2))
    call = ["average", str(first), "--with", str(second), "--share", "0.25", "-o", str(tmp_path / "mean.pt")]
    result = CliRunner().invoke(app, call, catch_exceptions=False)
    assert result.stdout.strip() == str(tmp_path / "mean.pt")

    nets = [load_net(path)[0].state_dict() for path in (first, second, tmp_path / "mean.pt")]
    for name in ("body.0.0.weight", "pool.conv.weight", "race.bias"):
        torch.testing.assert_close(nets[2][name], 0.75 * nets[0][name] + 0.25 * nets[1][name])
    assert torch.equal(nets[2]["embedding.weight"], nets[0]["embedding.weight"]), "it answers no one, so it stays"
    mean, variance = nets[2]["body.0.1.running_mean"], nets[2]["body.0.1.running_var"]
    assert mean.abs().max() > 0.1 and (variance - 1).abs().max() > 0.1, "fresh networks had 0 and 1"


def test_the_mean_is_the_same_each_time(config: Config, tmp_path: Path) -> None:
    first, second = (checkpoint(tmp_path / f"{seed}.pt", config, seed) for seed in (1, 2))
    made = [load_net(average_runs(first, second, 0.5, tmp_path / f"mean{n}.pt"))[0].state_dict() for n in (1, 2)]
    assert all(torch.equal(value, made[1][name]) for name, value in made[0].items())


def test_another_network_is_refused(config: Config, tmp_path: Path) -> None:
    first = checkpoint(tmp_path / "first.pt", config, 1)
    wider = checkpoint(tmp_path / "wider.pt", dataclasses.replace(config, widths=(8, 16)), 1)
    with pytest.raises(ConfigError, match="wider.pt`: expected a network of the recipe compact, but body.3.0.weight"):
        average_runs(first, wider, 0.5, tmp_path / "mean.pt")
    assert not (tmp_path / "mean.pt").exists()
