"""Activation ranges of a model on calibration images, computed once by ONNX Runtime's calibrators and remembered."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgeface.common.files import atomic_path, sha256_file
from edgeface.common.install import missing
from edgeface.errors import ConfigError, EdgefaceError
from edgeface.quantization.bias_correction import channel_means
from edgeface.quantization.canonicalise import prepare
from edgeface.quantization.graph import Model, import_onnx, read_float_model
from edgeface.runtime.base import Feed

METHODS = ("minmax", "entropy", "percentile")
PERCENTILE = 99.99
"""Share of an activation's values that method "percentile" keeps, in percent; of 99.9 to 99.999 the best on fold 2."""
_CALIBRATED_OPS = ("Conv", "Relu", "Clip", "Add", "Resize", "MaxPool")
_SCHEMA = 2
"""Raised whenever other ranges come out of the same key."""

Progress = Callable[[int, int], None]
"""Called with the number of feeds done and the number of all."""


@dataclass(frozen=True)
class Ranges(Mapping[str, tuple[float, float]]):
    """Tensor name → lowest and highest value, and what they are the ranges of.

    ``means`` hold the mean of each channel of a convolution's input, by the input's name. ``part`` is the digest of the
    images that were looked at where they are not all of the set.
    """

    model_sha256: str
    set_digest: str
    method: str
    bounds: Mapping[str, tuple[float, float]]
    means: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    part: str = ""

    def __getitem__(self, tensor: str) -> tuple[float, float]:
        return self.bounds[tensor]

    def __iter__(self) -> Iterator[str]:
        return iter(self.bounds)

    def __len__(self) -> int:
        return len(self.bounds)


def activation_ranges(
    model: str | os.PathLike[str],
    feeds: Sequence[Feed],
    method: str,
    set_digest: str,
    cache: Path | None = None,
    progress: Progress | None = None,
    part: str = "",
) -> Ranges:
    """Ranges of the activations of the float model ``model`` over ``feeds`` (each one run of the model).

    ``method``: "minmax" (the extremes), "entropy" (least Kullback-Leibler divergence of the 8-bit histogram) or
    "percentile" (all but 0.01 % of the values). ``set_digest`` names the data, ``part`` what was used of them; with
    ``cache`` (a folder) the same model, data and method are computed once. Raises ``ConfigError`` for an unknown
    method, no feed, or data that leave the activations constant.
    """
    _check_method(method)
    known = cached_ranges(model, method, set_digest, cache, part) if cache is not None else None
    if known is not None:
        return known
    if not feeds:
        raise ConfigError("no calibration image: ranges need at least one")
    graph = read_float_model(model)
    prepare(graph)
    bounds = _calibrated(graph, feeds, method, progress)
    _check_bounds(bounds)
    ranges = Ranges(sha256_file(model), set_digest, method, bounds, channel_means(graph, feeds), part)
    if cache is not None:
        _store(ranges, cache)
    return ranges


def cached_ranges(
    model: str | os.PathLike[str], method: str, set_digest: str, cache: str | os.PathLike[str], part: str = ""
) -> Ranges | None:
    """What ``activation_ranges`` computed before for the same model, data and method; ``None`` if it did not."""
    _check_method(method)
    read_float_model(model)
    wanted = Ranges(sha256_file(model), set_digest, method, {}, part=part)
    try:
        raw = json.loads(_cache_file(wanted, Path(cache)).read_text(encoding="utf-8"))
        bounds = {str(name): (float(low), float(high)) for name, (low, high) in raw.pop("bounds").items()}
        means = {str(name): tuple(float(mean) for mean in row) for name, row in raw.pop("means").items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # not there, or damaged: it is computed again
    found = dataclasses.replace(wanted, bounds=bounds, means=means)
    return found if raw == _identity(found) else None


def _check_method(method: str) -> None:
    if method not in METHODS:
        raise ConfigError(f"no calibration method `{method}`: expected one of {', '.join(METHODS)}")


def _check_bounds(bounds: Mapping[str, tuple[float, float]]) -> None:
    broken = [name for name, pair in bounds.items() if not np.isfinite(pair).all()]
    if broken:
        raise ConfigError(f"activation `{broken[0]}` is not finite on the calibration images; check the model")
    if all(low == high for low, high in bounds.values()):
        raise ConfigError("every activation is constant on the calibration images; are they images of faces?")


def _identity(ranges: Ranges) -> dict[str, Any]:
    return {
        "schema": _SCHEMA,
        "model_sha256": ranges.model_sha256,
        "set_digest": ranges.set_digest,
        "method": ranges.method,
        **({"percentile": PERCENTILE} if ranges.method == "percentile" else {}),
        **({"part": ranges.part} if ranges.part else {}),
    }


def _cache_file(ranges: Ranges, cache: Path) -> Path:
    key = hashlib.sha256(json.dumps(_identity(ranges), sort_keys=True).encode()).hexdigest()
    return cache / "ranges" / f"{key[:32]}.json"


def _store(ranges: Ranges, cache: Path) -> None:
    """A cache that cannot be written costs time next time, nothing else."""
    with contextlib.suppress(EdgefaceError), atomic_path(_cache_file(ranges, cache)) as temporary:
        content = {**_identity(ranges), "bounds": dict(ranges.bounds), "means": dict(ranges.means)}
        temporary.write_text(json.dumps(content), encoding="utf-8")


def _calibrated(
    graph: Model, feeds: Sequence[Feed], method: str, progress: Progress | None
) -> dict[str, tuple[float, float]]:
    onnx, calibrate = import_onnx(), _import_calibrate()
    methods = {
        "minmax": (calibrate.CalibrationMethod.MinMax, {}),
        "entropy": (calibrate.CalibrationMethod.Entropy, {}),
        # One-sided percentiles: after a Relu everything is positive, and mirroring would waste half the histogram.
        "percentile": (calibrate.CalibrationMethod.Percentile, {"symmetric": False, "percentile": PERCENTILE}),
    }
    kind, options = methods[method]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):  # the calibrators print
        source = Path(folder) / "model.onnx"
        onnx.save(graph, str(source))
        calibrator = calibrate.create_calibrator(
            source, list(_CALIBRATED_OPS), str(Path(folder) / "augmented.onnx"), kind, extra_options=options
        )
        for number, feed in enumerate(feeds):
            calibrator.collect_data(_OneFeed(feed))  # one at a time, since the calibrator keeps all it has not merged
            if progress is not None:
                progress(number + 1, len(feeds))
        data = calibrator.compute_data()
    return {
        name: (float(np.min(data[name].range_value[0])), float(np.max(data[name].range_value[1])))
        for name in sorted(data.keys())
    }


class _OneFeed:
    """A calibration data reader of one feed."""

    def __init__(self, feed: Feed) -> None:
        self._feeds = [dict(feed)]

    def get_next(self) -> dict[str, Any] | None:
        return self._feeds.pop() if self._feeds else None


def _import_calibrate() -> Any:
    try:
        return importlib.import_module("onnxruntime.quantization.calibrate")
    except ImportError as error:
        raise missing("onnxruntime", "quantize", "calibrating a model") from error
