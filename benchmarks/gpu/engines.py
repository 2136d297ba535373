"""TensorRT engines of one model in FP32, FP16 and INT8, timed side by side on this GPU at many batch sizes.

    edgeface quantize MODEL --precision int8 --target tensorrt … -o build/NAME.trt-int8.onnx     (anywhere)
    python -m benchmarks.gpu.engines --int8 build/NAME.trt-int8.onnx [--data UTKFace/]               (on the GPU
    machine)

Writes benchmarks/results/GPU-engines.json. Each engine is compared with its own graph in ONNX Runtime (float
simulation) on synthetic crops and, with ``--data``, with the float model on the faces of fold 1. A call is upload,
engine and download: by ``infer``, and captured as one CUDA graph. Needs no more packages than ``tests/gpu``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgeface.bench.model_speed import Samples, interleaved_ms, paired_speedup
from edgeface.build.build import BuildRequest, unjudged_engine
from edgeface.build.request import resolve
from edgeface.build.steps import Silence
from edgeface.common.files import atomic_path, sha256_file
from edgeface.common.machine import fingerprint
from edgeface.cuda.pycuda_context import find_gpu
from edgeface.errors import ConfigError, EdgefaceError
from edgeface.export.onnx_export import proof_crops
from edgeface.inference.detector import FaceDetector, shipped_model
from edgeface.quantization.quantize import quantize
from edgeface.runtime.base import Backend
from edgeface.runtime.open import open_backend
from edgeface.spec.metadata import model_spec
from edgeface.spec.recipe import Recipe

RESULTS = Path(__file__).resolve().parents[1] / "results"
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
REFERENCE = "fp32"

Call = Callable[[], object]


def figures_of(calls: Mapping[str, Call], batch: int, seconds: float) -> list[dict[str, Any]]:
    """A row for each call, run for ``seconds`` in interleaved rounds; the first is the reference of the speed-ups."""
    timed = interleaved_ms(list(calls.values()), seconds * len(calls))
    fastest = [np.array([part.min() for part in rounds]) for rounds in timed]
    return [_row(name, batch, rounds, fastest[0], own) for name, rounds, own in zip(calls, timed, fastest)]


def _row(name: str, batch: int, rounds: Sequence[Samples], reference: Samples, own: Samples) -> dict[str, Any]:
    calls = np.concatenate(rounds)
    p50, p90, p99 = (round(float(value), 4) for value in np.percentile(calls, [50, 90, 99]))
    speedup = paired_speedup(reference, own)
    return {
        "engine": name,
        "batch": batch,
        "calls": len(calls),
        "p50_ms": p50,
        "p90_ms": p90,
        "p99_ms": p99,
        "crops_per_s": round(batch * 1e3 / float(calls.mean()), 1),
        "speedup": {key: round(value, 3) for key, value in speedup._asdict().items()} | {"verdict": speedup.verdict},
    }


def build_engine_of(graph: Path, precision: str, model: Path, max_batch: int, folder: Path) -> dict[str, Any]:
    """``folder/PRECISION.engine`` of a graph that has its precision already; returns what is worth knowing of it."""
    place = folder / precision
    place.mkdir()
    own = place / "graph.onnx"
    own.write_bytes(graph.read_bytes())
    order = BuildRequest(model, Recipe("tensorrt", REFERENCE, max_batch), place / f"{precision}.engine", gate=False)
    recipe = dataclasses.replace(order.recipe, precision=precision)
    job = dataclasses.replace(resolve(order), order=dataclasses.replace(order, recipe=recipe))
    start = time.perf_counter()
    passport = unjudged_engine(job, own, place, Silence())
    return {
        "graph_sha256": sha256_file(graph),
        "built_in_s": round(time.perf_counter() - start, 1),
        "megabytes": round(order.out.stat().st_size / 1e6, 2),
        "layers": dict(passport.layers),
        "age_off_its_graph_years": _agreement(order.out, own),
    }


def _agreement(engine: Path, graph: Path) -> float:
    """Mean absolute difference of the ages that engine and graph give to synthetic crops."""
    crops = proof_crops(model_spec(graph).input_size)
    with open_backend(graph, simulate=True) as reference, open_backend(engine) as candidate:
        difference = candidate.infer({"crops": crops})["age"] - reference.infer({"crops": crops})["age"]
    return round(float(np.abs(difference).mean()), 5)


def timed(
    engines: Mapping[str, Path], size: int, batches: Sequence[int], seconds: float
) -> Iterator[list[dict[str, Any]]]:
    """Rows of all engines, batch size by batch size: by ``infer``, and upload, engine and download as one graph."""
    for batch in batches:
        crops = np.random.default_rng(batch).integers(0, 256, (batch, size, size, 3), np.uint8)
        with ExitStack() as stack:
            calls: dict[str, Call] = {}
            for name, path in engines.items():
                calls[name] = _caller(stack.enter_context(open_backend(path)), crops)
            own = figures_of(calls, batch, seconds)
        with ExitStack() as stack:
            graphs = {f"{name}, CUDA graph": stack.enter_context(_graph(path, crops)) for name, path in engines.items()}
            own += figures_of(graphs, batch, seconds)
        print(*(f"batch {batch}, {row['engine']}: {row['p50_ms']} ms" for row in own), sep="\n", file=sys.stderr)
        yield own


def _caller(backend: Backend, crops: np.ndarray) -> Call:
    return lambda: backend.infer({"crops": crops})


@contextmanager
def _graph(path: Path, crops: np.ndarray) -> Iterator[Call]:
    """A call that uploads ``crops``, runs the engine and downloads every answer, captured as one CUDA graph."""
    from edgeface.cuda.context import Context, DeviceBuffer, PinnedBuffer
    from edgeface.cuda.stream import Stream
    from edgeface.runtime.trt_device import TrtDeviceEngine

    with ExitStack() as stack:  # binding and engine have to go before the context does
        context = stack.enter_context(Context())
        engine, stream = TrtDeviceEngine(path), Stream(context)
        stack.callback(engine.close)
        tensors = (*engine.inputs, *engine.outputs)
        shapes = {info.name: (len(crops), *(size or 1 for size in info.shape[1:])) for info in tensors}
        kinds = {info.name: info.dtype for info in tensors}
        sizes = {name: int(np.prod(shape)) * kinds[name].itemsize for name, shape in shapes.items()}
        pinned = {name: PinnedBuffer(context, size) for name, size in sizes.items()}
        device = {name: DeviceBuffer(context, size) for name, size in sizes.items()}
        call = engine.bind(shapes, {name: buffer.address for name, buffer in device.items()})
        stack.callback(call.close)
        pinned["crops"].array[:] = crops.ravel()

        def queue() -> None:
            stream.upload(device["crops"].address, pinned["crops"], sizes["crops"])
            call.enqueue(stream.handle)
            for info in engine.outputs:
                stream.download(pinned[info.name], device[info.name].address, sizes[info.name])

        queue()  # the first run sets up what a capture may not hold
        stream.synchronize()
        with stream.capture() as made:
            queue()

        def launch() -> None:
            stream.launch_graph(made[0])
            stream.synchronize()

        yield launch


def judged(model: Path, engines: Mapping[str, Path], data: Sequence[Path]) -> dict[str, Any]:
    """Losses of the engines on fold 1 and what the gate says of them, speed apart."""
    from edgeface.evaluation.datasets import find_faces
    from edgeface.evaluation.labelled_crops import labelled_crops
    from edgeface.parity import Budget, compare, failures

    with FaceDetector(threads=0) as detector:
        crops = labelled_crops(find_faces(data, None, {1}), model_spec(model), detector)
    report = compare(model, list(engines.values()), crops, latency_s=0)
    faults = [f"{Path(fault.split('`')[1]).stem}: {fault.split('`: ', 1)[1]}" for fault in failures(report, Budget())]
    kept = ("heads", "changes", "worst_group", "not_finite")
    candidates = report.to_dict()["candidates"]
    losses = {name: {key: item[key] for key in kept} for name, item in zip(engines, candidates)}
    return {"fold": 1, "faces": report.faces, "losses": losses, "failures": faults}


def measure(options: argparse.Namespace, save: Callable[[dict[str, Any]], None]) -> None:
    """Build, time and compare, and ``save`` what is known after every batch size.

    Raises ``EdgefaceError`` where this machine cannot.
    """
    from edgeface.runtime.trt import identity

    model = options.model
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        graphs = {REFERENCE: model, "fp16": quantize(model, folder / "fp16.onnx", "fp16", "tensorrt")}
        if options.int8 is not None:
            _check_source(options.int8, model)
            graphs["int8"] = options.int8
        largest = max(options.batches)
        built = {key: build_engine_of(graph, key, model, largest, folder) for key, graph in graphs.items()}
        engines = {key: folder / key / f"{key}.engine" for key in graphs}
        result: dict[str, Any] = {
            "machine": {**fingerprint(), **identity(), "cuda_of_driver": find_gpu().cuda},
            "model": {"name": model.name, "sha256": sha256_file(model)},
            "max_batch": largest,
            "engines": built,
            "rows": [],
            "parity": None,
        }
        for rows in timed(engines, model_spec(model).input_size, options.batches, options.seconds):
            result["rows"] += rows
            save(result)
        if options.data:
            result["parity"] = judged(model, engines, options.data)
            save(result)


def _check_source(graph: Path, model: Path) -> None:
    """An int8 graph of another model would be timed, and its losses blamed on the precision."""
    precision = model_spec(graph).precision
    if precision is None or (precision.precision, precision.target) != ("int8", "tensorrt"):
        raise ConfigError(f"`{graph}` is no int8 graph for TensorRT; make it with: edgeface quantize --target tensorrt")
    if precision.source_sha256 != sha256_file(model):
        raise ConfigError(f"`{graph}` was not made from `{model}`; quantise this very model")


def result_path(gpu: str, name: str, folder: Path = RESULTS) -> Path:
    """Where the results of a GPU go: ``h200-engines.json`` for "engines" on an "NVIDIA H200"."""
    return folder / f"{re.sub(r'[^a-z0-9]+', '-', gpu.lower().removeprefix('nvidia '))}-{name}.json"


def _write(out: Path, result: dict[str, Any]) -> None:
    with atomic_path(out) as temporary:
        temporary.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=shipped_model("attributes.onnx"), help="float attribute network")
    parser.add_argument("--int8", type=Path, help="the same network in int8 for TensorRT; without it int8 is left out")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="batch sizes")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each engine at each batch size")
    parser.add_argument(
        "--data", type=Path, action="append", help="UTKFace, to judge the engines on fold 1; repeatable"
    )
    parser.add_argument("--save", type=Path, help="the file to write; else benchmarks/results/GPU-engines.json")
    options = parser.parse_args(arguments)
    try:
        gpu = find_gpu()
        out = options.save or result_path(gpu.name, "engines")
        measure(options, partial(_write, out))
    except EdgefaceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
