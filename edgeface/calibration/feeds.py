"""From a calibration set to a model's activation ranges, whichever of our two networks it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgeface.calibration.check import verified_pictures
from edgeface.calibration.crops import calibration_crops
from edgeface.calibration.set_file import CalibrationSet
from edgeface.common.files import cache_dir
from edgeface.errors import CalibrationError, ImageError, SpecError
from edgeface.evaluation.datasets import FaceSet
from edgeface.evaluation.labelled_crops import Progress
from edgeface.evaluation.precropped import pad_edges
from edgeface.imaging.geometry import letterbox
from edgeface.imaging.image_io import decode_image
from edgeface.imaging.preprocess import fit_canvas
from edgeface.inference.detector import FaceDetector
from edgeface.quantization.ranges import Ranges, activation_ranges, cached_ranges
from edgeface.runtime.base import REFERENCE_RUNTIME, Feed
from edgeface.spec.metadata import detector_spec, model_spec, onnx_metadata
from edgeface.spec.model import MODEL_KEY, DetectorSpec

_BATCH = 32
_DETECTOR_PICTURES = 128
"""Of the set's beginning, which is a fair sample of the whole: an image has the pixels of a dozen crops."""
_CROPS_INPUT, _IMAGE_INPUT = "crops", "image"


def calibration_ranges(
    model: Path,
    calibration: CalibrationSet,
    data: Sequence[FaceSet],
    method: str,
    progress: Progress | None = None,
) -> Ranges:
    """Activation ranges of the float ``model`` on the set's images, found in ``data``; computed once, then cached.

    An attribute network sees the aligned crops, a detector the first framed images on its canvas. The set is verified
    also where the ranges are known: a set of other data must not pass because someone had the right ones once. Raises
    ``CalibrationError`` where an image is missing, changed, held out or cannot be decoded.
    """
    verified_pictures(calibration, data)
    part = _part_digest(model, calibration)
    known = cached_ranges(model, method, calibration.digest, cache_dir(), part)
    if known is not None:
        return known
    feeds = calibration_feeds(model, calibration, data, progress)
    return activation_ranges(model, feeds, method, calibration.digest, cache_dir(), progress, part)


def _part_digest(model: Path, calibration: CalibrationSet) -> str:
    """Which images a detector sees depends on the set's order, which its digest does not know; empty: all of them."""
    if MODEL_KEY in onnx_metadata(model) or len(calibration.files) <= _DETECTOR_PICTURES:
        return ""
    return replace(calibration, files=calibration.files[:_DETECTOR_PICTURES]).digest


def calibration_feeds(
    model: Path, calibration: CalibrationSet, data: Sequence[FaceSet], progress: Progress | None = None
) -> list[Feed]:
    """The set's images as inputs of ``model``, each feed one run."""
    if MODEL_KEY in onnx_metadata(model):
        with FaceDetector(threads=1, runtime=REFERENCE_RUNTIME) as detector:
            crops = calibration_crops(calibration, data, model_spec(model), detector, progress)
        return [{_CROPS_INPUT: crops[start : start + _BATCH]} for start in range(0, len(crops), _BATCH)]
    spec = detector_spec(model)
    if spec is None:
        raise SpecError(f"`{model}` has no spec in its metadata, so nothing says how to feed it")
    pictures = verified_pictures(calibration, data)[:_DETECTOR_PICTURES]
    try:
        return [_canvas(picture.raw, spec, picture.file.name) for picture in pictures]
    except ImageError as error:
        raise CalibrationError(f"calibration set `{calibration.name}`: {error}") from error


def _canvas(raw: bytes, spec: DetectorSpec, name: str) -> Feed:
    """One framed chip on a detector's canvas, not enlarged: a camera's frames are as sharp, and enlarging blurs."""
    image = pad_edges(decode_image(raw, name))
    fit = letterbox(image.shape[1], image.shape[0], spec.longest_px, spec.multiple, upscale=1.0)
    return {_IMAGE_INPUT: fit_canvas(image, fit)[None]}
