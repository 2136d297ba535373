"""The steps of a GPU session, each by itself: ``python -m benchmarks.gpu.session_steps STEP --save FILE``.

A step writes its file after every figure, so that one that is broken off has lost only the next.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.clips import make_clip, pictures
from benchmarks.gpu.engines import build_engine_of
from benchmarks.gpu.session import ROOT, WORK, write
from edgeface.bench.pipeline_speed import bench_pipeline
from edgeface.build.build import BuildRequest, build_engine
from edgeface.common.machine import fingerprint
from edgeface.cuda import compile as kernels
from edgeface.cuda.context import Context, Kernels
from edgeface.cuda.pycuda_context import find_gpu
from edgeface.cuda.structs import ARGUMENTS
from edgeface.errors import BackendError, EdgefaceError
from edgeface.gpu.analyzer import GpuAnalyzer, engine_parts
from edgeface.gpu.pipeline import GpuPipeline
from edgeface.inference.detector import shipped_model
from edgeface.pipeline.run_stats import resident_bytes
from edgeface.quantization.quantize import quantize
from edgeface.spec.recipe import Recipe
from edgeface.types import Image

TOGETHER = 8
SIZES = ((1280, 720), (1920, 1080))
FACES = (1, 8, 32)
USUAL = ("fp16", "fp16")
"""Precisions of detector and attribute network that all sizes and crowds are measured with."""
OTHERS = (("fp32", "fp32"), ("fp16", "int8"))
"""What is measured on one kind of frame besides, where it has been built."""
GPU_MS_LIMIT, OVERHEAD_LIMIT = 1.5, 1.05
"""The most that a 1080p frame with 8 faces may take of the GPU, and a call over its bare graph."""

Save = Callable[[dict[str, Any]], None]


def engine_path(network: str, precision: str) -> Path:
    """Where a session keeps an engine."""
    return WORK / "engines" / f"{network}-{precision}" / f"{precision}.engine"


def analyzer(detector: str, attributes: str) -> GpuAnalyzer:
    """Two of the session's engines, by their precisions."""
    paths = engine_path("detector", detector), engine_path("attributes", attributes)
    return GpuAnalyzer(partial(engine_parts, *paths))


def compile_kernels(save: Save) -> None:
    """Load the kernels; those that were compiled elsewhere and do not suit this driver are compiled here."""
    with Context() as context:
        started_s, capability = time.perf_counter(), context.capability
        image = kernels.compiled(capability)
        try:
            Kernels(context, image, tuple(ARGUMENTS))
        except BackendError:
            kernels.cached(capability).unlink(missing_ok=True)
            image = kernels.compiled(capability)
            Kernels(context, image, tuple(ARGUMENTS))
        save(
            {
                "compute_capability": capability / 10,
                "driver_cuda": context.driver.version,
                "bytes": len(image),
                "seconds": round(time.perf_counter() - started_s, 1),
            }
        )


def build_engines(int8: Path | None, save: Save) -> None:
    """The engines of all later steps: both networks in FP16 and FP32, the attribute network also in INT8."""
    built: dict[str, Any] = {}
    model = shipped_model("attributes.onnx")
    WORK.mkdir(parents=True, exist_ok=True)
    half = quantize(model, WORK / "attributes.fp16.onnx", "fp16", "tensorrt")
    graphs = {"fp16": half, "fp32": model} | ({"int8": int8} if int8 else {})
    for precision in ("fp16", "fp32"):
        order = BuildRequest(
            shipped_model("detector.onnx"),
            Recipe("tensorrt", precision, TOGETHER),
            engine_path("detector", precision),
            gate=False,
        )
        order.out.parent.mkdir(parents=True, exist_ok=True)
        started_s = time.perf_counter()
        build_engine(order)
        built[f"detector-{precision}"] = {"built_in_s": round(time.perf_counter() - started_s, 1)}
        save({"engines": built})
    for precision, graph in graphs.items():
        place = engine_path("attributes", precision)
        if not place.is_file():
            built[f"attributes-{precision}"] = _attribute_engine(graph, precision, model, place.parent)
        save({"engines": built})


def _attribute_engine(graph: Path, precision: str, model: Path, place: Path) -> dict[str, Any]:
    """Build into a folder of its own, which then takes the engine's place."""
    made = place.parent / "making"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    facts = build_engine_of(graph, precision, model, 32, made)
    (made / precision).rename(place)
    return facts


def run_tests(save: Save) -> None:
    """``tests/gpu``, a process for each file, so that one that crashes takes no other along; what failed, by name."""
    counts = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    failed: dict[str, str] = {}
    WORK.mkdir(parents=True, exist_ok=True)
    for file in sorted((ROOT / "tests" / "gpu").glob("test_*.py")):
        report = WORK / f"{file.stem}.xml"
        report.unlink(missing_ok=True)
        options = ["-m", "gpu", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        code = subprocess.run([sys.executable, "-m", "pytest", str(file), *options], cwd=ROOT).returncode
        if report.is_file():
            _read_report(report, counts, failed)
        elif code:
            failed[file.name] = f"ended with code {code}"
        save({**counts, "failed": failed})
    if failed:
        raise BackendError(f"GPU tests fail: {', '.join(failed)}")


def _read_report(report: Path, counts: dict[str, int], failed: dict[str, str]) -> None:
    """Add what a JUnit report says."""
    for suite in ET.parse(report).getroot().iter("testsuite"):
        for name in counts:
            counts[name] += int(suite.get(name, 0))
        for case in suite.iter("testcase"):
            for problem in (*case.findall("failure"), *case.findall("error")):
                failed[case.get("name", "?")] = (problem.get("message") or "")[:500]


def time_pipeline(seconds: float, save: Save) -> None:
    """``edgeface bench --pipeline`` on clips of all sizes and crowds."""
    rows: list[dict[str, Any]] = []
    cases = [(size, faces, USUAL) for size in SIZES[::-1] for faces in (8, 1, 32)]
    cases += [(SIZES[1], 8, others) for others in OTHERS if engine_path("attributes", others[1]).is_file()]
    for size, faces, precisions in cases:
        clip = WORK / "clips" / f"{size[0]}x{size[1]}-{faces}.mp4"
        if not clip.is_file():
            make_clip(clip, size, faces)
        with analyzer(*precisions) as opened:
            report = bench_pipeline(str(clip), opened, seconds)
        row = {"detector": precisions[0], "attributes": precisions[1], "asked_faces": faces, **report.to_dict()}
        rows.append({key: value for key, value in row.items() if key != "machine"})
        save({"rows": rows, "meets": verdicts(rows)})


def verdicts(rows: Sequence[dict[str, Any]]) -> dict[str, bool | None]:
    """Whether the project's promises hold; ``None`` where nothing was measured."""
    costs = [row["gpu"] for row in rows if row["gpu"]]
    crowd = [row for row in rows if tuple(row["size"]) == SIZES[1] and row["asked_faces"] == 8 and row["gpu"]]
    gpu_ms = [row["gpu"]["graph_ms"] for row in crowd if (row["detector"], row["attributes"]) == USUAL]
    wanted = {"host_to_device": 1, "device_to_host": 1, "synchronisations": 1}
    copies = [all(row["copies"][kind]["calls"] == number for kind, number in wanted.items()) for row in rows]
    return {
        f"gpu_ms_at_most_{GPU_MS_LIMIT}": _all(taken <= GPU_MS_LIMIT for taken in gpu_ms),
        f"overhead_at_most_{OVERHEAD_LIMIT}": _all(cost["overhead"]["median"] <= OVERHEAD_LIMIT for cost in costs),
        "one_copy_each_way_and_one_wait": _all(copies),
    }


def _all(answers: Iterable[bool]) -> bool | None:
    """Whether all are true; ``None`` without any."""
    listed = list(answers)
    return all(listed) if listed else None


def watch_memory(frames: int, save: Save) -> None:
    """Free memory of the GPU and the process's own over many frames of changing crowds."""
    shown = [picture for faces in (1, 8, 3, 20) for picture in pictures(SIZES[0], faces, 8)]

    def watched(pipeline: GpuPipeline) -> None:
        points: list[dict[str, float]] = []
        for done in range(frames + 1):
            if done % max(frames // 20, 1) == 0:
                gc.collect()
                free = pipeline.context.free_bytes() / 2**20
                points.append({"frames": done, "gpu_free_mb": free, "process_mb": resident_bytes() / 2**20})
                save({"frames": done, "points": points, "flat": flat(points)})
            pipeline(shown[done // 16 % len(shown)])

    with analyzer(*USUAL) as opened:
        opened.on_gpu(watched)


def flat(points: Sequence[dict[str, float]]) -> bool | None:
    """Whether nothing grew after the first fifth, by which all graphs are captured; ``None`` before."""
    later = points[max(len(points) // 5, 2) :]
    if len(later) < 2:
        return None
    return later[-1]["gpu_free_mb"] >= later[0]["gpu_free_mb"] - 2 and later[-1]["process_mb"] < (
        later[0]["process_mb"] + 20
    )


def time_streams(seconds: float, save: Save) -> None:
    """Frames a second of several cameras' frames answered together, and one after the other."""
    rows: list[dict[str, Any]] = []

    def measured(pipeline: GpuPipeline) -> None:
        for count in (1, 2, 4, 8):
            shown = [pictures(SIZES[0], 2, 1, seed)[0] for seed in range(count)]
            together_ms = _median_ms(partial(pipeline.answer, shown), seconds)
            alone_ms = _median_ms(partial(_one_by_one, pipeline, shown), seconds)
            rates = {"together_fps": 1e3 * count / together_ms, "alone_fps": 1e3 * count / alone_ms}
            rows.append({"streams": count, **{name: round(rate, 1) for name, rate in rates.items()}})
            save({"size": SIZES[0], "rows": rows})

    with analyzer(*USUAL) as opened:
        opened.on_gpu(measured)


def _one_by_one(pipeline: GpuPipeline, frames: Sequence[Image]) -> None:
    for frame in frames:
        pipeline(frame)


def _median_ms(call: Callable[[], object], seconds: float) -> float:
    """Median milliseconds of a call after a warm-up."""
    for _ in range(5):
        call()
    times: list[float] = []
    end_s = time.perf_counter() + seconds
    while time.perf_counter() < end_s or len(times) < 3:
        started_s = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - started_s))
    return float(np.median(times))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    steps: dict[str, Callable[[argparse.Namespace, Save], None]] = {
        "kernels": lambda options, save: compile_kernels(save),
        "built": lambda options, save: build_engines(options.int8, save),
        "tests": lambda options, save: run_tests(save),
        "pipeline": lambda options, save: time_pipeline(options.seconds, save),
        "memory": lambda options, save: watch_memory(options.frames, save),
        "streams": lambda options, save: time_streams(options.seconds, save),
    }
    parser.add_argument("step", choices=steps)
    parser.add_argument("--save", type=Path, required=True, help="the file to write")
    parser.add_argument("--int8", type=Path, help="the attribute network's int8 graph for TensorRT")
    parser.add_argument("--seconds", type=float, default=4.0, help="time for one figure")
    parser.add_argument("--frames", type=int, default=10_000, help="length of the memory run")
    options = parser.parse_args(arguments)
    machine: dict[str, Any] = {}

    def save(content: dict[str, Any]) -> None:
        if not machine:
            machine.update({**fingerprint(), "gpu": dataclasses.asdict(find_gpu())})
        write({"step": options.step, **content, "machine": machine}, options.save)

    try:
        steps[options.step](options, save)
    except EdgefaceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
