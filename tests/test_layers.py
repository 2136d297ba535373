"""Imports flow one way: a module imports only from its own layer or a lower one, and heavy packages have one owner."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Lowest first; the longest matching prefix decides.
LAYERS = (
    ("edgeface.errors", "edgeface.types", "edgeface.spec", "edgeface.machine"),
    (
        "edgeface.geometry",
        "edgeface.html",
        "edgeface.preprocess",
        "edgeface.postprocess",
        "edgeface.artifact",
        "edgeface.datasets",
        "edgeface.metrics",
        "edgeface.reliability",
        "edgeface.toml_file",
    ),
    (
        "edgeface.export",
        "edgeface.opencv_variant",
        "edgeface.recipe",
        "edgeface.passport",
        "edgeface.runtime",
        "edgeface.cuda",
        "edgeface.images",
        "edgeface.quantization",
        "edgeface.quantize",
    ),
    ("edgeface.pipeline", "edgeface.api", "edgeface.explain", "edgeface.explain_graph", "edgeface.demo_clip"),
    (
        "edgeface.evaluate",
        "edgeface.labelled",
        "edgeface.calibration",
        "edgeface.doctor",
        "edgeface.doctor_engines",
        "edgeface.model_info",
        "edgeface.bench",
        "edgeface.bench_compare",
        "edgeface.bench_gpu",
        "edgeface.bench_pipeline",
        "edgeface.parity",
    ),
    ("edgeface.build_order", "edgeface.build_steps", "edgeface.build_judges", "edgeface.build_gate", "edgeface.build"),
    ("edgeface.cli", "edgeface.__main__"),
)
OWNERS = {
    "torch": ("edgeface/export.py", "trainer/"),
    "torchvision": ("trainer/",),
    "onnx": ("edgeface/export.py", "edgeface/opencv_variant.py", "edgeface/quantization/", "trainer/"),
    "onnxsim": ("edgeface/export.py", "trainer/"),
    "onnxruntime": ("edgeface/runtime/ort.py", "edgeface/quantization/ranges.py", "trainer/detector/teacher.py"),
    "av": ("edgeface/pipeline/source_", "edgeface/pipeline/sink_", "edgeface/demo_clip.py"),
    "openvino": ("edgeface/runtime/openvino.py",),
    "tensorrt": ("edgeface/runtime/trt.py",),
    "pycuda": ("edgeface/runtime/cuda.py",),
    "scipy": (),
}


def sources() -> list[Path]:
    return sorted(path for top in ("edgeface", "trainer") for path in (ROOT / top).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Every module a file imports, at any depth; names of a package count as its submodules."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(module: str) -> int | None:
    matches = [
        (len(prefix), index)
        for index, prefixes in enumerate(LAYERS)
        for prefix in prefixes
        if module == prefix or module.startswith(prefix + ".")
    ]
    return max(matches)[1] if matches else None


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_flow_one_way(path: Path) -> None:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    own = layer(name)
    for module in imported(path):
        if name.startswith("edgeface"):
            assert not module.startswith("trainer"), f"{name} imports {module}"
            assert own is not None or name in {"edgeface", "edgeface.assets"}, f"{name} has no layer"
        target = layer(module)
        if own is not None and target is not None:
            assert target <= own, f"{name} imports {module}, which lies above it"


@pytest.mark.parametrize("package", sorted(OWNERS))
def test_heavy_packages_have_one_owner(package: str) -> None:
    strays = [
        str(path.relative_to(ROOT))
        for path in sources()
        if any(module.split(".")[0] == package for module in imported(path))
        and not str(path.relative_to(ROOT)).startswith(OWNERS[package])
    ]
    assert strays == []


def test_modules_stay_short() -> None:
    long = {str(p.relative_to(ROOT)): n for p in sources() if (n := len(p.read_text("utf-8").splitlines())) > 320}
    assert long == {}
