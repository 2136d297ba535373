"""The steps of building an engine: calibrate and quantise, TensorRT's builder, the parity gate, the search."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from edgeface.common.files import atomic_path, cache_dir
from edgeface.spec.metadata import detector_spec, model_spec
from edgeface.build.request import ResolvedBuild
from edgeface.evaluation.datasets import find_faces
from edgeface.errors import ConfigError, SinkError
from edgeface.spec.model import MODEL_KEY

_USUAL_BATCH = 8
_USUAL_SHARE = 4
"""Tactics are chosen for batches of eight, or a quarter of the largest: who asks for 256 does not send eight."""
_CROPS_INPUT, _IMAGE_INPUT = "crops", "image"


class Reporter(Protocol):
    """Where a build says what it is doing."""

    def note(self, text: str) -> None:
        """One sentence for people."""
        ...

    def progress(self, label: str) -> AbstractContextManager[Callable[[int, int | None], None]]:
        """A context that yields ``report(done, total)``."""
        ...


class Silence:
    """A ``Reporter`` that says nothing."""

    def note(self, text: str) -> None:
        pass

    def progress(self, label: str) -> AbstractContextManager[Callable[[int, int | None], None]]:
        return nullcontext(lambda done, total: None)


@dataclass(frozen=True)
class EngineDetails:
    """What TensorRT told of the engine it built."""

    layers: Mapping[str, Any] = field(default_factory=dict)
    timing_cache_sha256: str | None = None


def calibrated(job: ResolvedBuild, say: Reporter) -> Any:
    """The model's activation ranges on the recipe's calibration set; ``None`` unless it is to be int8."""
    if job.calibration is None:
        return None
    from edgeface.calibration.feeds import calibration_ranges

    with say.progress("calibrating") as report:
        data = find_faces(job.order.data, job.order.labels)
        return calibration_ranges(job.order.model, job.calibration, data, job.order.recipe.method, report)


def quantised(job: ResolvedBuild, folder: Path, say: Reporter) -> Path:
    """The ONNX graph in the recipe's precision, written into ``folder``."""
    out, precision = folder / "graph.onnx", job.order.recipe.precision
    if precision == "fp32":
        shutil.copyfile(job.order.model, out)
        return out
    from edgeface.quantization.quantize import quantize

    ranges = calibrated(job, say)
    return quantize(job.order.model, out, precision, job.target, ranges, calibration=set_facts(job))


def set_facts(job: ResolvedBuild) -> dict[str, str]:
    """The calibration set as the spec records it."""
    return {} if job.calibration is None else {"name": job.calibration.name, "digest": job.calibration.digest}


def engine_of(job: ResolvedBuild, graph: Path, out: Path, say: Reporter) -> EngineDetails:
    """Turn ``graph`` into the engine ``out``: TensorRT's, or for a processor the graph itself."""
    if job.order.recipe.on_cpu:
        shutil.copyfile(graph, out)
        return EngineDetails()
    from edgeface.quantization.tensorrt_compat import onnx_for_tensorrt
    from edgeface.runtime.trt_builder import build_plan

    parsed = graph.with_name("tensorrt.onnx")
    parsed.write_bytes(onnx_for_tensorrt(graph, float_weights=True))  # which every release reads; 8.6 reads no other
    cache = _timing_cache_path(job)
    timings = _read(cache)
    with say.progress("building") as report:
        plan = build_plan(
            parsed, job.order.recipe, profiles(job), timings, lambda phase, done, total: report(done, total or None)
        )
    for note in plan.notes:
        say.note(note)
    out.write_bytes(plan.engine)
    with suppress(SinkError), atomic_path(cache) as temporary:  # without it the next build takes longer, that is all
        temporary.write_bytes(plan.timing_cache)
    return EngineDetails(plan.layers, hashlib.sha256(plan.timing_cache).hexdigest())


def profiles(job: ResolvedBuild) -> dict[str, Any]:
    """The shapes every input may take: batches up to the recipe's; a detector's images up to its canvas.

    A DLA core takes one shape only.
    """
    from edgeface.runtime.trt_builder import Profile

    largest = job.order.recipe.max_batch
    fixed = job.order.recipe.dla is not None
    smallest, usual = (largest, largest) if fixed else (1, min(max(_USUAL_BATCH, largest // _USUAL_SHARE), largest))
    if MODEL_KEY in job.metadata:
        side = model_spec(job.order.model).input_size
        return {_CROPS_INPUT: Profile(*((batch, side, side, 3) for batch in (smallest, usual, largest)))}
    spec = detector_spec(job.order.model)
    if fixed or spec is None:
        raise ConfigError("dla: a DLA core takes images of one size only; leave `dla` out for a face detector")
    step, longest = spec.multiple, -(-spec.longest_px // spec.multiple) * spec.multiple
    wide = -(-longest * 9 // (16 * step)) * step  # the height of a 16:9 image
    return {_IMAGE_INPUT: Profile((1, step, step, 3), (1, wide, longest, 3), (largest, longest, longest, 3))}


def _read(cache: Path) -> bytes:
    """The bytes of a cache; none where it is missing or cannot be read."""
    try:
        return cache.read_bytes()
    except OSError:
        return b""


def _timing_cache_path(job: ResolvedBuild) -> Path:
    name = re.sub(r"[^\w.]+", "-", f"{job.identity['gpu']}-tensorrt-{job.identity['tensorrt']}")
    return cache_dir() / "timing" / f"{name}.cache"


def layer_precisions(graph: Path) -> dict[str, dict[str, int]]:
    """How many Conv, Gemm and MatMul of an ONNX graph compute in which precision: ``{"Conv": {"int8": 30}, …}``."""
    from edgeface.quantization.graph import GraphIndex, import_onnx, read_model

    model, onnx = read_model(graph), import_onnx()
    index = GraphIndex(model)
    counts: dict[str, dict[str, int]] = {}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        sources = [index.producers.get(name) for name in node.input[:2]]
        weights = index.constants.get(node.input[1])
        if all(source is not None and source.op_type == "DequantizeLinear" for source in sources):
            precision = "int8"
        elif weights is not None and weights.data_type == onnx.TensorProto.FLOAT16:
            precision = "fp16"
        else:
            precision = "fp32"
        of_type = counts.setdefault(node.op_type, {})
        of_type[precision] = of_type.get(precision, 0) + 1
    return counts
