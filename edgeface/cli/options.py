"""Options that several verbs share, and what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeface.common.console import log_line

if TYPE_CHECKING:
    from edgeface.api import AttributeEstimator, FaceDetector
    from edgeface.pipeline.device import AnyAnalyzer

Model = Annotated[
    Path | None,
    typer.Option(
        metavar="ONNX", help="Attribute network (default: the shipped one; fairface: the one trained without UTKFace)."
    ),
]
Detector = Annotated[
    Path | None,
    typer.Option(
        metavar="ONNX",
        help="Face detector: edgeface's, YuNet, SCRFD or UltraFace (default: the shipped one; street: the one for "
        "turned heads, masks and small faces).",
    ),
]
Threads = Annotated[int, typer.Option(min=0, metavar="N", help="CPU threads of one inference; 0: all cores.")]
Score = Annotated[
    float | None,
    typer.Option(min=0.01, max=1.0, metavar="X", help="Minimum detection score (default: the detector's own)."),
]
Device = Annotated[str, typer.Option(metavar="D", help="auto, cpu, or a GPU: cuda or cuda:N.")]
StrictDevice = Annotated[
    bool, typer.Option("--strict-device", help="Fail if a part of the device is missing instead of using the CPU.")
]


MinFace = Annotated[
    float | None,
    typer.Option(
        min=8,
        max=10_000,
        metavar="PX",
        help="Smallest face to find, in pixels of the image: smaller is slower. Large images are looked at in tiles.",
    ),
]


def analyzer(
    model: Path | None,
    detector_model: Path | None,
    threads: int,
    score: float | None,
    batch: int = 32,
    device: str = "auto",
    strict: bool = False,
    min_face: float | None = None,
) -> AnyAnalyzer:
    """Detector and attribute network as the options say; a GPU that is not used is named on stderr."""
    from edgeface.pipeline.device import Request, open_analyzer

    return open_analyzer(Request(device, strict, model, detector_model, threads, score, batch, min_face), log_line)


def detector(model: Path | None, threads: int, score: float | None = None) -> FaceDetector:
    """The face detector as the options and the environment say."""
    from edgeface.api import FaceDetector

    return FaceDetector(model, threads=threads, score_threshold=score)


def reference_detector(model: Path | None) -> FaceDetector:
    """The face detector that cuts the crops of proofs: ONNX Runtime's, so that all their figures have one source."""
    from edgeface.api import FaceDetector
    from edgeface.runtime.base import REFERENCE_RUNTIME

    return FaceDetector(model, threads=1, runtime=REFERENCE_RUNTIME)


def estimator(model: Path | None, threads: int, batch: int = 32) -> AttributeEstimator:
    """The attribute network as the options and the environment say."""
    from edgeface.api import AttributeEstimator

    return AttributeEstimator(model, threads=threads, batch=batch)
