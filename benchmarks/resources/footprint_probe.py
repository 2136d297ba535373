"""One process that answers one portrait and tells what it holds in memory on the way; run as a file, not imported.

    python benchmarks/resources/footprint_probe.py edgeface PORTRAIT
    python benchmarks/resources/footprint_probe.py torch PORTRAIT MODEL.pt2

Prints one line of JSON: megabytes in use after each step, the most there ever were, and the age of the first face.
With PyTorch only the attribute network answers, on the portrait's centre square: there is no detector to load.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def status_mb(key: str) -> float:
    """A line of /proc/self/status in megabytes: ``VmRSS`` now, ``VmHWM`` the most ever."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        return next(round(int(line.split()[1]) / 1024, 1) for line in file if line.startswith(f"{key}:"))


def by_edgeface(portrait: str) -> dict[str, Any]:
    """The whole library: detector and attribute network."""
    from edgeface import FaceAnalyzer

    imported = status_mb("VmRSS")
    with FaceAnalyzer() as analyzer:
        opened = status_mb("VmRSS")
        face = analyzer(portrait)[0]
        return {"imported_mb": imported, "opened_mb": opened, "rest_mb": status_mb("VmRSS"), "age": face.age}


def by_torch(portrait: str, trained: str) -> dict[str, Any]:
    """The trained program or checkpoint in eager PyTorch."""
    import torch  # noqa: F401  # what the others import on the way, first

    from edgeface.imaging.image_io import read_image
    from edgeface.imaging.preprocess import centre_crop
    from trainer.evaluation.artefacts import open_artefact

    imported = status_mb("VmRSS")
    estimator = open_artefact(trained, "cpu")
    opened = status_mb("VmRSS")
    age = estimator.from_crops(centre_crop(read_image(portrait), estimator.spec.input_size)[None]).age[0]
    return {"imported_mb": imported, "opened_mb": opened, "rest_mb": status_mb("VmRSS"), "age": float(age)}


if __name__ == "__main__":
    start_mb = status_mb("VmRSS")
    steps = by_torch(*sys.argv[2:]) if sys.argv[1] == "torch" else by_edgeface(*sys.argv[2:])
    peak_mb = max(status_mb("VmHWM"), steps["rest_mb"])  # the kernel keeps the two counters a little apart
    print(json.dumps({"python_mb": start_mb, **steps, "peak_mb": peak_mb}), flush=True)
