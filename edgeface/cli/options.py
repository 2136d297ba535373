"""Options that several verbs share, and what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgeface.api import AttributeEstimator, FaceAnalyzer, FaceDetector

Model = Annotated[Path | None, typer.Option(metavar="ONNX", help="Attribute network; without it, the shipped one.")]
Detector = Annotated[
    Path | None,
    typer.Option(metavar="ONNX", help="Face detector (ours, YuNet, SCRFD, UltraFace); else the shipped one."),
]
Threads = Annotated[int, typer.Option(min=0, metavar="N", help="CPU threads of one inference; 0: all cores.")]
Score = Annotated[
    float | None,
    typer.Option(min=0.01, max=1.0, metavar="X", help="Lowest score of a face; without it, the detector's own."),
]


def analyzer(
    model: Path | None, detector_model: Path | None, threads: int, score: float | None, batch: int = 32
) -> FaceAnalyzer:
    """Detector and attribute network as the options say."""
    from edgeface.api import FaceAnalyzer

    return FaceAnalyzer(detector(detector_model, threads, score), estimator(model, threads, batch))


def detector(model: Path | None, threads: int, score: float | None = None) -> FaceDetector:
    """The face detector as the options say."""
    from edgeface.api import FaceDetector

    return FaceDetector(model, threads=threads, score_threshold=score)


def estimator(model: Path | None, threads: int, batch: int = 32) -> AttributeEstimator:
    """The attribute network as the options say."""
    from edgeface.api import AttributeEstimator

    return AttributeEstimator(model, threads=threads, batch=batch)
