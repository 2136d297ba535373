from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgeface.common.files import cache_dir, sha256_file
from edgeface.errors import ConfigError, MissingDependencyError
from edgeface.quantization import ranges as module
from edgeface.quantization.ranges import METHODS, Ranges, activation_ranges, cached_ranges
from edgeface.runtime.base import Feed


def exact(model: Path, feeds: list[Feed], tensor: str) -> tuple[float, float]:
    """The extremes of ``tensor``, computed by making it an output."""
    import onnx
    import onnxruntime

    graph = onnx.load(str(model))
    del graph.graph.output[:]
    graph.graph.output.append(onnx.helper.make_tensor_value_info(tensor, 1, None))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    values = [session.run([tensor], dict(feed))[0] for feed in feeds]
    return float(np.min(values)), float(np.max(values))


def test_minmax_finds_the_extremes_of_all_feeds(residual: Path, feeds: list[Feed]) -> None:
    found = activation_ranges(residual, feeds, "minmax", "some set")
    for tensor in ("pixels", "skip1", "branch1", "sum1", "last"):
        assert found[tensor] == pytest.approx(exact(residual, feeds, tensor), rel=1e-5)
    assert (found.model_sha256, found.set_digest, found.method) == (sha256_file(residual), "some set", "minmax")


@pytest.mark.parametrize("method", ["entropy", "percentile"])
def test_other_methods_stay_within_the_extremes(method: str, residual: Path, feeds: list[Feed]) -> None:
    widest = activation_ranges(residual, feeds, "minmax", "s")
    found = activation_ranges(residual, feeds, method, "s")
    assert set(found) == set(widest)
    for tensor, (low, high) in found.items():
        slack = 0.02 * (widest[tensor][1] - widest[tensor][0])  # a histogram's bin
        assert widest[tensor][0] - slack <= low < high <= widest[tensor][1] + slack


def test_the_calibrators_leave_stdout_and_the_models_folder_alone(
    residual: Path, feeds: list[Feed], capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[int, int]] = []
    before = sorted(residual.parent.iterdir())
    activation_ranges(residual, feeds, "percentile", "s", progress=lambda done, total: seen.append((done, total)))
    assert capsys.readouterr().out == ""
    assert sorted(residual.parent.iterdir()) == before
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_ranges_are_computed_once(
    residual: Path, feeds: list[Feed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    first = activation_ranges(residual, feeds, "minmax", "a", cache)
    assert cached_ranges(residual, "minmax", "b", cache) is None
    assert cached_ranges(residual, "entropy", "a", cache) is None

    def never(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(module, "_calibrated", never)
    assert activation_ranges(residual, feeds, "minmax", "a", cache) == first
    with pytest.raises(AssertionError, match="computed again"):
        activation_ranges(residual, feeds, "minmax", "another set", cache)


def test_another_model_and_a_damaged_cache_are_computed_again(
    residual: Path, feeds: list[Feed], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    first = activation_ranges(residual, feeds, "minmax", "a", cache)
    (file,) = (cache / "ranges").iterdir()
    file.write_text(json.dumps({**json.loads(file.read_text()), "set_digest": "b"}))
    assert cached_ranges(residual, "minmax", "a", cache) is None
    file.write_text("{")
    assert activation_ranges(residual, feeds, "minmax", "a", cache) == first
    changed = tmp_path / "changed.onnx"
    changed.write_bytes(residual.read_bytes().replace(b"small", b"SMALL"))
    assert cached_ranges(changed, "minmax", "a", cache) is None


def test_the_cache_lies_where_the_user_wants_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEFACE_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("EDGEFACE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_dir() == Path("/somewhere/edgeface")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "edgeface"


def test_what_cannot_be_calibrated(residual: Path, feeds: list[Feed], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no calibration method `max`: expected one of minmax, entropy, percentile"):
        activation_ranges(residual, feeds, "max", "s")
    with pytest.raises(ConfigError, match="no calibration image: ranges need at least one"):
        activation_ranges(residual, [], "minmax", "s", tmp_path)
    assert METHODS == ("minmax", "entropy", "percentile")


def test_ranges_are_a_mapping() -> None:
    ranges = Ranges("m", "s", "minmax", {"a": (0.0, 1.0)})
    assert dict(ranges) == {"a": (0.0, 1.0)}
    assert len(ranges) == 1


def test_without_the_quantisation_tools_the_extra_is_named(
    residual: Path, feeds: list[Feed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime.quantization.calibrate", None)
    with pytest.raises(MissingDependencyError, match=r"calibrating a model needs `onnxruntime`.*\[quantize\]"):
        activation_ranges(residual, feeds, "minmax", "s")
