"""Two processes train as one: the same losses and weights, every image once an epoch, one writer."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from edgeface.errors import ConfigError  # noqa: E402
from tests.conftest import ROOT  # noqa: E402
from tests.fixtures import tiny_detector  # noqa: E402, F401
from tests.trainer.people import make_people  # noqa: E402
from trainer import checkpoint  # noqa: E402
from trainer.config import Config  # noqa: E402
from trainer.distributed import Group  # noqa: E402

CPU = torch.device("cpu")

SPY = """
import json, os, sys
import numpy as np
from trainer import train
from trainer.data import batches as feed
from trainer.config import load_config
seen = []
original = feed.BatchLoader.batches
def spied(self, rows):
    seen.append(np.asarray(rows).ravel().tolist())
    return original(self, rows)
feed.BatchLoader.batches = spied
train.fit(load_config(sys.argv[1]))
open(f"{sys.argv[1]}.{os.environ.get('RANK', '0')}.json", "w").write(json.dumps(seen))
"""


def start(config: Config, recipe: Path, processes: int) -> list[list[list[int]]]:
    """Train in ``processes`` processes; the rows that each fed in each epoch."""
    recipe.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in config.to_dict().items()))
    script = recipe.with_suffix(".py")
    script.write_text(SPY)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [*(torchrun if processes > 1 else [sys.executable]), str(script), str(recipe)]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(Path(f"{recipe}.{rank}.json").read_text()) for rank in range(processes)]


def test_two_processes_train_as_one(tmp_path: Path, tiny_detector: Path) -> None:  # noqa: F811
    """The same batches, crops and statistics, so only the order of sums differs.

    In float32 that is 1e-7 of a loss at first and grows with every step; 1e-3 leaves room for three epochs, while a
    batch normalisation of each process's own would be off by several per cent. Dropout is off: its draws are each
    process's own.
    """
    single = Config(
        utkface=(str(make_people(tmp_path / "people")),),
        fairface=(),
        detector=str(tiny_detector),
        cache=str(tmp_path / "cache"),
        out=str(tmp_path / "one"),
        input_size=32,
        stem=8,
        widths=(16, 32),
        depths=(1, 1),
        dropout=0.0,
        batch=8,
        accumulate=2,
        epochs=3,
        balance="uncertainty",
        threads=1,
        amp="off",
        device="cpu",
    )
    double = dataclasses.replace(single, out=str(tmp_path / "two"))
    (alone,) = start(single, tmp_path / "one.toml", 1)
    first, second = start(double, tmp_path / "two.toml", 2)
    for whole, left, right in zip(alone, first, second):
        assert not set(left) & set(right) and sorted(left + right) == sorted(whole)
        assert len(set(whole)) == len(whole), "each image once an epoch"

    one, two = (
        [json.loads(line) for line in (Path(config.out) / "metrics.jsonl").read_text().splitlines()]
        for config in (single, double)
    )
    assert len(one) == len(two) == 3, "one process writes"
    for expected, found in zip(one, two):
        for name, loss in expected["loss"].items():
            assert found["loss"][name] == pytest.approx(loss, rel=1e-3, abs=1e-4), (expected["epoch"], name)
    weights, others = (checkpoint.read(checkpoint.checkpoint_path(config))["net"] for config in (single, double))
    for name, value in weights.items():
        assert torch.allclose(value.float(), others[name].float(), rtol=0.02, atol=2e-3), name


def test_a_batch_is_shared_evenly() -> None:
    rows = np.arange(12)
    parts = [rows[Group(rank, 3, CPU).part(12)] for rank in range(3)]
    assert np.array_equal(np.concatenate(parts), rows)
    for batch in (10, 3):
        with pytest.raises(ConfigError, match="`batch`: expected a multiple of the 3 processes, two images each"):
            Group(0, 3, CPU).part(batch)


def test_one_process_needs_no_messages() -> None:
    group, value = Group(0, 1, CPU), torch.ones(3)
    assert group.is_main and group.mean(value) is value
    assert group.rank0_first(lambda: 4) == group.broadcast_from_rank0(lambda: 4) == 4
