"""Folders are floors: a file imports only from its own floor or a lower one, and no files import each other in a loop.

Every import counts, lazy ones and those under ``TYPE_CHECKING`` too. Heavy packages have one owner.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.conftest import ROOT

TREES = ("edgeface", "trainer", "benchmarks")
FLOORS = (
    *("edgeface.errors", "edgeface.types", "edgeface.assets", "edgeface", "edgeface.common", "edgeface.spec"),
    *("edgeface.imaging", "edgeface.cuda", "edgeface.runtime", "edgeface.inference", "edgeface.api"),
    *("edgeface.quantization", "edgeface.gpu", "edgeface.tracking", "edgeface.evaluation", "edgeface.calibration"),
    *("edgeface.export", "edgeface.sources", "edgeface.sinks", "edgeface.pipeline", "edgeface.explain"),
    *("edgeface.doctor", "edgeface.bench", "edgeface.parity", "edgeface.build", "edgeface.cli"),
    "edgeface.__main__",
    *("trainer", "trainer.config_file", "trainer.config", "trainer.compute_device", "trainer.distributed"),
    *("trainer.ema", "trainer.models", "trainer.objective", "trainer.augmentation", "trainer.data", "trainer.log"),
    *("trainer.soft_labels", "trainer.validate", "trainer.calibrate", "trainer.pretrain", "trainer.run_state"),
    *("trainer.checkpoint", "trainer.train", "trainer.sweep", "trainer.weight_averaging", "trainer.explain"),
    *("trainer.data_report", "trainer.evaluation", "trainer.reporting", "trainer.detector", "trainer.cli"),
    "trainer.__main__",
    *("benchmarks", "benchmarks.script", "benchmarks.tables", "benchmarks.studies", "benchmarks.peers"),
    *("benchmarks.suites", "benchmarks.resources", "benchmarks.detection", "benchmarks.gpu"),
)
"""Lowest first; a file stands on the floor of the longest name that its own begins with."""
OWNERS = {
    "torch": ("edgeface/export/onnx_export.py", "trainer/", "benchmarks/"),
    "torchvision": ("trainer/", "benchmarks/"),
    "onnx": ("edgeface/export/", "edgeface/quantization/", "trainer/", "benchmarks/"),
    "onnxsim": ("edgeface/export/onnx_export.py", "trainer/"),
    "onnxruntime": ("edgeface/runtime/ort.py", "edgeface/quantization/ranges.py", "trainer/detector/teacher.py"),
    "av": ("edgeface/sources/", "edgeface/sinks/"),
    "openvino": ("edgeface/runtime/openvino.py",),
    "tensorrt": ("edgeface/runtime/trt.py",),
    "pycuda": ("edgeface/cuda/pycuda_context.py",),
    "scipy": ("benchmarks/",),
}
CROWDED = 16
SEVERAL_MEANINGS = frozenset({"__init__.py", "__main__.py", "base.py", "open.py", "config.py"})
"""File names that mean the same in every folder."""


def sources() -> list[Path]:
    return sorted(path for tree in TREES for path in (ROOT / tree).rglob("*.py"))


def module_of(path: Path, root: Path = ROOT) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> Iterator[str]:
    """Every module a file imports, at any depth; names of a package count as its submodules."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def import_graph(paths: list[Path], root: Path = ROOT) -> dict[str, set[str]]:
    """The files that each file imports. A package's re-exports of its own files are not an import of a loop."""
    modules = {module_of(path, root): path for path in paths}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        found = {module for module in imported(path) if module in modules} - {name}
        # `from package import file` names both; what is meant is the file
        graph[name] = {m for m in found if not any(other.startswith(f"{m}.") for other in found)}
    return graph


def floor(module: str, floors: tuple[str, ...] = FLOORS) -> int | None:
    """The index of a module's floor; ``None`` for a folder that has none."""
    matches = [name for name in floors if module == name or module.startswith(f"{name}.")]
    return floors.index(max(matches, key=len)) if matches else None


def upward(graph: Mapping[str, set[str]], floors: tuple[str, ...] = FLOORS) -> list[str]:
    """Imports of a higher floor. The package's root may name anything: it does so on use (``edgeface.__getattr__``)."""
    bad = []
    for name, targets in graph.items():
        for target in targets:
            below, above = floor(name, floors), floor(target, floors)
            if name != "edgeface" and below is not None and above is not None and above > below:
                bad.append(f"{name} imports {target}, which lies above it")
    return sorted(bad)


def loops(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of files that reach each other (strongly connected components of two or more)."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(graph[start])
        while waiting:
            if (name := waiting.pop()) not in seen:
                seen.add(name)
                waiting += graph.get(name, ())
        return seen

    reached = {name: reach(name) for name in graph}
    groups = {frozenset(other for other in reached[name] if name in reached.get(other, ())) for name in graph}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def test_imports_flow_one_way() -> None:
    assert upward(import_graph(sources())) == []


def test_no_files_import_each_other_in_a_loop() -> None:
    graph = import_graph(sources())
    # `edgeface/__init__.py` names its public classes' homes, whose files ask it for the version
    graph["edgeface"] = set()
    assert loops(graph) == []


def test_every_file_has_a_floor_of_its_own_tree() -> None:
    roots = {"edgeface", "trainer", "benchmarks"}
    strays = [
        module
        for module in map(module_of, sources())
        if module not in roots and FLOORS[floor(module) or 0] in roots and module.count(".") >= 1
    ]
    assert strays == []


def test_an_upward_import_is_found_wherever_it_hides(tmp_path: Path) -> None:
    low, high = tmp_path / "edgeface" / "common", tmp_path / "edgeface" / "cli"
    for folder in (low, high):
        folder.mkdir(parents=True)
    (high / "run.py").write_text("x = 1\n")
    lines = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from edgeface.cli import run\n"
    for text in (lines, "def f() -> None:\n    import edgeface.cli.run\n", "from edgeface.cli.run import x\n"):
        (low / "files.py").write_text(text)
        graph = import_graph(sorted(tmp_path.rglob("*.py")), tmp_path)
        assert upward(graph) == ["edgeface.common.files imports edgeface.cli.run, which lies above it"]


def test_a_loop_of_three_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "edgeface" / "sinks"
    folder.mkdir(parents=True)
    for name, target in (("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")):
        (folder / f"{name}.py").write_text(f"def f() -> None:\n    from edgeface.sinks import {target}\n")
    graph = import_graph(sorted(tmp_path.rglob("*.py")), tmp_path)
    assert loops(graph) == [["edgeface.sinks.a", "edgeface.sinks.b", "edgeface.sinks.c"]]


@pytest.mark.parametrize("package", sorted(OWNERS))
def test_heavy_packages_have_one_owner(package: str) -> None:
    strays = [
        str(path.relative_to(ROOT))
        for path in sources()
        if any(module.split(".")[0] == package for module in imported(path))
        and not str(path.relative_to(ROOT)).startswith(OWNERS[package])
    ]
    assert strays == []


def test_edgeface_never_imports_what_lies_outside_the_wheel() -> None:
    strays = [
        f"{module_of(path)} imports {module}"
        for path in sources()
        for module in imported(path)
        if module_of(path).split(".")[0] == "edgeface" and module.split(".")[0] in ("trainer", "benchmarks")
    ]
    assert strays == []


def test_no_folder_is_crowded() -> None:
    """``cli/`` has a file for every verb and may grow with them."""
    files = Counter(path.parent.relative_to(ROOT) for path in sources() if path.name != "__init__.py")
    assert {str(folder): n for folder, n in files.items() if n > CROWDED and folder.name != "cli"} == {}


def test_a_file_name_has_one_meaning() -> None:
    """``cli/`` again aside: a verb's file is named for the verb."""
    names = Counter(p.name for p in sources() if p.name not in SEVERAL_MEANINGS and p.parent.name != "cli")
    assert [name for name, count in names.items() if count > 1] == []


def test_modules_stay_short() -> None:
    long = {str(p.relative_to(ROOT)): n for p in sources() if (n := len(p.read_text("utf-8").splitlines())) > 320}
    assert long == {}
