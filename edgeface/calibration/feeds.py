"""From a calibration set to a model's activation ranges, whichever of our two networks it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeface.artifact import cache_dir, detector_spec, model_spec, onnx_metadata
from edgeface.calibration.crops import calibration_crops
from edgeface.calibration.pictures import locate, require_all
from edgeface.calibration.set_file import CalibrationSet
from edgeface.datasets import FaceSet
from edgeface.errors import SpecError
from edgeface.geometry import letterbox
from edgeface.images import decode_image
from edgeface.labelled import Progress
from edgeface.pipeline.chips import framed
from edgeface.pipeline.detect import FaceDetector
from edgeface.preprocess import fit_canvas
from edgeface.quantization.ranges import Ranges, activation_ranges, cached_ranges
from edgeface.runtime.base import Feed
from edgeface.spec import MODEL_KEY, DetectorSpec

_BATCH = 32
_DETECTOR_PICTURES = 128
"""Of the set's beginning, which is a fair sample of the whole: a picture has the pixels of a dozen crops."""
_CROPS_INPUT, _IMAGE_INPUT = "crops", "image"


def calibration_ranges(
    model: Path,
    calibration: CalibrationSet,
    data: Sequence[FaceSet],
    method: str,
    progress: Progress | None = None,
) -> Ranges:
    """Activation ranges of the float ``model`` on the set's pictures, found in ``data``; computed once, then cached.

    An attribute network sees the aligned crops, a detector the first framed pictures on its canvas. Raises
    ``CalibrationError`` where a picture is missing, changed or cannot be decoded.
    """
    known = cached_ranges(model, method, calibration.digest, cache_dir())
    if known is not None:
        return known
    feeds = calibration_feeds(model, calibration, data, progress)
    return activation_ranges(model, feeds, method, calibration.digest, cache_dir(), progress)


def calibration_feeds(
    model: Path, calibration: CalibrationSet, data: Sequence[FaceSet], progress: Progress | None = None
) -> list[Feed]:
    """The set's pictures as inputs of ``model``, each feed one run."""
    if MODEL_KEY in onnx_metadata(model):
        with FaceDetector(threads=1) as detector:
            crops = calibration_crops(calibration, data, model_spec(model), detector, progress)
        return [{_CROPS_INPUT: crops[start : start + _BATCH]} for start in range(0, len(crops), _BATCH)]
    spec = detector_spec(model)
    if spec is None:
        raise SpecError(f"`{model}` has no spec in its metadata, so nothing says how to feed it")
    pictures = require_all(f"calibration set `{calibration.name}`", calibration, locate(calibration, data))
    return [_canvas(picture.raw, spec, picture.file.name) for picture in pictures[:_DETECTOR_PICTURES]]


def _canvas(raw: bytes, spec: DetectorSpec, name: str) -> Feed:
    """One framed chip on a detector's canvas, not enlarged: a camera's frames are as sharp, and enlarging blurs."""
    image = framed(decode_image(raw, name))
    fit = letterbox(image.shape[1], image.shape[0], spec.longest_px, spec.multiple, upscale=1.0)
    return {_IMAGE_INPUT: fit_canvas(image, fit)[None]}
