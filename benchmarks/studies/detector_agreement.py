"""How far the shipped face detector agrees with its teacher on images that were neither trained nor tuned on.

    python -m benchmarks.studies.detector_agreement [--shared ../shared] [--save
    benchmarks/results/detector_agreement.json]

Teacher: OpenCV Zoo's YuNet at each image's original size. Its faces of score 0.7 or more and at least 24 px count;
its other detections from score 0.3 count neither way. A face is found where the boxes' IoU is 0.5 or more. Landmark
errors are mean distances in eye distances:

- `landmark_error` from the teacher's one look at the whole image;
- `teacher_error`, of the teacher itself from that look, when the image is moved by 5 px to the right and 3 px down;
- `steady_error` from what it agrees on when it is shown the face upright, enlarged and mirrored (`steady_faces` of
  them; trainer/detector/consensus.py).

Images: the test scenes and clips of trainer/detector/sources.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from edgeface.common.files import atomic_path, sha256_file
from edgeface.common.machine import fingerprint
from edgeface.errors import EdgefaceError
from edgeface.inference.detector import shipped_model
from edgeface.spec.metadata import detector_spec
from trainer.detector.agreement import report

TARGETS = {"recall": 0.90, "precision": 0.90, "landmark_error": 0.06}
COLUMNS = (
    "pictures",
    "teacher_faces",
    "found",
    "false_alarms",
    "recall",
    "precision",
    "landmark_error",
    "teacher_error",
    "steady_faces",
    "steady_error",
)


def measure(model: Path, shared: Path) -> dict[str, Any]:
    """Figures by part, with everything needed to judge them."""
    spec = detector_spec(model)
    settings = ("longest_px", "upscale", "score_threshold", "nms_iou")
    return {
        "model": {
            "file": model.name,
            "sha256": sha256_file(model),
            **{name: getattr(spec, name, None) for name in settings},
        },
        "targets": TARGETS,
        "parts": report(model, shared, "test"),
        "machine": fingerprint(),
    }


def table(parts: dict[str, dict[str, Any]]) -> str:
    """The figures for people, one line a part."""
    rows = [f"{'part':46}" + "".join(f"{name:>15}" for name in COLUMNS)]
    for name, figures in parts.items():
        rows.append(f"{name:46}" + "".join(f"{'-' if figures[c] is None else figures[c]:>15}" for c in COLUMNS))
    return "\n".join(rows)


def main() -> int:
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a detector's ONNX file (default: the shipped one)")
    parser.add_argument("--shared", type=Path, default=root.parent / "shared", help="holds data/, media/, models/")
    parser.add_argument("--save", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args()
    try:
        result = measure(options.model or shipped_model("detector.onnx"), options.shared)
        print(table(result["parts"]))
        if options.save:
            with atomic_path(options.save) as temporary:
                temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    except EdgefaceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
