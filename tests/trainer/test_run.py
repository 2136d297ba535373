"""A whole run in miniature: it learns, stops, goes on exactly, and ends in a program that exports."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from edgeface.errors import ArtifactError, ConfigError, DataError, SinkError  # noqa: E402
from edgeface.export.onnx_export import export_onnx, load_program, proof_crops  # noqa: E402
from edgeface.runtime.open import open_backend  # noqa: E402
from edgeface.spec.metadata import model_spec  # noqa: E402
from tests.conftest import ROOT  # noqa: E402
from tests.fixtures import tiny_detector  # noqa: E402, F401
from tests.trainer.people import make_fairface, make_people  # noqa: E402
from trainer import checkpoint, train  # noqa: E402
from trainer import compute_device as machine  # noqa: E402
from trainer.config import Config, load_config  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Runs set torch's thread count; other tests get theirs back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def smoke(tmp_path: Path, tiny_detector: Path) -> Config:  # noqa: F811
    """The smoke recipe on chips made here."""
    faces, labels = make_fairface(tmp_path / "fairface")
    settings = {
        "utkface": (str(make_people(tmp_path / "utkface")),),
        "fairface": (str(faces),),
        "fairface_labels": str(labels),
        "detector": str(tiny_detector),
        "cache": str(tmp_path / "cache"),
        "out": str(tmp_path / "run"),
        "threads": 1,
        "batch": 16,
    }
    return dataclasses.replace(load_config(ROOT / "trainer" / "recipes" / "smoke.toml"), **settings)


def recipe_of(config: Config) -> Path:
    """The settings as a recipe file, for other processes."""
    path = Path(f"{config.out}.toml")
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in config.to_dict().items()))
    return path


def records(config: Config) -> list[dict[str, object]]:
    return [json.loads(line) for line in (Path(config.out) / "metrics.jsonl").read_text().splitlines()]


def test_the_smoke_recipe_from_pictures_to_onnx(smoke: Config, tmp_path: Path) -> None:
    program = train.fit(smoke)
    assert program == tmp_path / "run" / "model.pt2"
    assert [record["epoch"] for record in records(smoke)] == [1, 2]
    assert {"loss", "rate", "seconds", "utkface", "fairface"} <= set(records(smoke)[0])
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    spec = export_onnx(program, tmp_path / "model.onnx")
    assert spec == model_spec(tmp_path / "model.onnx")
    assert (spec.name, spec.input_size, spec.training["train_folds"]) == ("smoke", 48, [3, 4, 5, 6, 7, 8, 9])
    assert spec.alignment == smoke.alignment and len(spec.weights_sha256) == 64
    with open_backend(tmp_path / "model.onnx", threads=1) as backend:
        answer = backend.infer({"crops": proof_crops(48)[:3]})
    assert answer["age"].shape == (3,) and answer["race"].shape == (3, 5)
    assert np.allclose(answer["gender"].sum(axis=1), 1, atol=1e-5)


def test_a_program_carries_the_metrics_it_is_asked_for(smoke: Config) -> None:
    first = load_program(train.fit(smoke))[1]
    assert first.metrics == train.judge(smoke, smoke.validation_folds) != {}
    without = load_program(train.write_program(smoke, ()))[1]
    assert without.metrics == {} and without.weights_sha256 == first.weights_sha256
    assert set(load_program(train.write_program(smoke, (0, 1)))[1].metrics) == {
        "fairface"
    }  # the chips have no such fold


def test_killed_in_mid_epoch_it_goes_on_as_if_nothing_had_been(smoke: Config, tmp_path: Path) -> None:
    """A real SIGKILL in the third epoch, and ``--resume``: bit for bit the weights of an unbroken run."""
    harder = {"mixup": 0.4, "accumulate": 2, "balance": "gradnorm", "dropout": 0.3, "batch": 8}
    whole = dataclasses.replace(smoke, epochs=4, patience=10, deterministic=True, **harder)
    train.fit(whole)
    expected = checkpoint.read(checkpoint.checkpoint_path(whole))
    broken = dataclasses.replace(whole, out=str(tmp_path / "broken"))
    done = _run_until_killed(broken)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert checkpoint.read(checkpoint.checkpoint_path(broken))["epoch"] == 2
    train.fit(broken, resume=True)
    found = checkpoint.read(checkpoint.checkpoint_path(broken))
    for part in ("net", "ema", "best", "balancer"):
        for name, value in expected[part].items():
            assert torch.equal(value, found[part][name]), f"{part}: {name}"
    for part in ("schedule", "best_penalty", "calibration"):
        assert expected[part] == found[part]
    unbroken, resumed = ([record["loss"] for record in records(config)] for config in (whole, broken))
    assert unbroken == resumed and len(resumed) == 4


def _run_until_killed(config: Config) -> subprocess.CompletedProcess[str]:
    """Train in a process that the kernel kills at the second step of the third epoch."""
    program = f"""
import os, signal
from trainer import train  # noqa: E402
from trainer.config import load_config  # noqa: E402
step = train.Run.step
def deadly(run, *rest):
    if run.epoch == 2 and run.schedule.done % run.schedule.steps == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    step(run, *rest)
train.Run.step = deadly
train.fit(load_config({str(recipe_of(config))!r}))
"""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_without_progress_it_stops_early(smoke: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "penalty", lambda figures: 1.0)
    train.fit(dataclasses.replace(smoke, epochs=30, patience=2))
    assert len(records(smoke)) == 3  # the first is the best, two more without progress


def test_without_validation_the_last_weights_count(smoke: Config) -> None:
    config = dataclasses.replace(smoke, train_folds=(2, 3, 4, 5, 6, 7, 8, 9), validation_folds=())
    train.fit(config)
    state = checkpoint.read(checkpoint.checkpoint_path(config))
    assert state["best"] is None and state["epoch"] == 2
    assert "utkface" not in records(config)[-1]


def test_it_learns(smoke: Config) -> None:
    train.fit(dataclasses.replace(smoke, epochs=12, learning_rate=0.01, dropout=0.0))
    losses = [record["loss"]["total"] for record in records(smoke)]
    assert losses[-1] < 0.8 * losses[0]


def test_another_recipe_does_not_go_on(smoke: Config) -> None:
    train.fit(smoke)
    with pytest.raises(ConfigError, match="was trained with epochs = 2, now it is 9.*--set epochs=2"):
        train.fit(dataclasses.replace(smoke, epochs=9), resume=True)
    with pytest.raises(ArtifactError, match="no checkpoint at `.*elsewhere/last.pt`: start the run without --resume"):
        train.fit(dataclasses.replace(smoke, out=str(Path(smoke.out) / "elsewhere")), resume=True)


def test_a_checkpoint_that_would_run_code_is_refused(smoke: Config, tmp_path: Path) -> None:
    train.fit(smoke)
    torch.save({"epoch": print}, checkpoint.checkpoint_path(smoke))
    with pytest.raises(ArtifactError, match="is not a checkpoint of this trainer or is damaged"):
        train.fit(smoke, resume=True)


def test_a_recipe_that_cannot_be_built_fails_before_any_picture_is_read(smoke: Config) -> None:
    for setting, value in (("backbone", "resnet9"), ("age_loss", "mse"), ("balance", "luck"), ("pretrain", "sleep")):
        with pytest.raises(ConfigError, match=f"`{setting}`"):
            train.fit(dataclasses.replace(smoke, utkface=("nowhere",), **{setting: value}))


def test_too_few_pictures_for_a_batch(smoke: Config) -> None:
    with pytest.raises(DataError, match=r"\d+ training images do not fill a batch of 500"):
        train.fit(dataclasses.replace(smoke, batch=500))


def test_an_output_folder_that_cannot_be(smoke: Config, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="cannot write into `.*file/run`"):
        train.fit(dataclasses.replace(smoke, out=str(tmp_path / "file" / "run")))


def test_devices_and_precisions_that_are_not_there() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="cuda was asked for, but torch sees no GPU"):
            machine.pick_device("cuda")
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        machine.pick_amp("fp16", CPU)
    assert machine.pick_amp("auto", CPU) in ("bf16", "off")
    assert machine.pick_amp("off", CPU) == "off"


def test_the_command_line_says_what_is_wrong_in_one_line() -> None:
    command = [sys.executable, "-m", "trainer", "fit", "trainer/recipes/smoke.toml", "--set", "epoch=2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr == ("error: recipe `trainer/recipes/smoke.toml`: no key `epoch`, the nearest is `epochs`\n")
