"""From a checkpoint to the ONNX file that is shipped, and the proof that both answer alike."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from edgeface.common.files import atomic_path
from edgeface.errors import ExportError
from edgeface.runtime.open import open_backend
from edgeface.spec.model import DETECTOR_KEY, DetectorSpec
from trainer.detector import sources
from trainer.detector.config import Recipe
from trainer.detector.fit import CHECKPOINT, load_model
from trainer.detector.network import OUTPUTS, STRIDES, Detector, ExportedDetector, parameter_count

OPSET = 17  # TensorRT 8.6 reads no newer one
TOLERANCE = 2e-3  # absolute, of scores and of distances in strides
NAME = "edgeface-detector"


def detector_spec_of(recipe: Recipe, model: Detector, step: int) -> DetectorSpec:
    """What travels in the file's metadata."""
    training = {
        "data": "UTKFace and FairFace folds 3-9, training scenes; labels by YuNet (face_detection_yunet_2026may)",
        "split": "scenes by sha1(name) % 5: 0 test, 1 validation; no clip is trained on",
        "terms": "UTKFace is for non-commercial research only",
        "start": recipe.init or "random weights",
        "steps": step,
        "pictures": step * recipe.batch,
        "parameters": parameter_count(model),
    }
    return DetectorSpec(
        NAME, STRIDES, 32, recipe.longest_px, recipe.upscale, recipe.score_threshold, recipe.nms_iou, training
    )


def export(recipe: Recipe) -> Path:
    """Write ``recipe.onnx`` from the run's checkpoint, check and prove it, and return its path.

    Raises ``ExportError`` where names, shapes or values of ONNX Runtime's answers differ from PyTorch's.
    """
    import onnx
    import onnxsim

    model, state = load_model(Path(recipe.out) / CHECKPOINT)
    spec = detector_spec_of(recipe, model, state["step"])
    with atomic_path(recipe.onnx) as temporary:
        _write(ExportedDetector(model).eval(), temporary)
        graph, same = onnxsim.simplify(onnx.load(temporary))
        if not same:
            raise ExportError("onnxsim's simplified detector answers differently; export with another onnxsim")
        onnx.helper.set_model_props(graph, {DETECTOR_KEY: spec.to_json()})
        onnx.checker.check_model(graph, full_check=True)
        onnx.save(graph, temporary)
        prove(model, temporary, proof_batches(recipe))
    return Path(recipe.onnx)


def _write(model: ExportedDetector, path: Path) -> None:
    dynamic = {"image": {0: "N", 1: "H", 2: "W"}, **{name: {0: "N", 1: "A"} for name in OUTPUTS}}
    example = torch.zeros((2, 96, 64, 3), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the newer route does not reach opset 17
        torch.onnx.export(
            model,
            (example,),
            str(path),
            input_names=["image"],
            output_names=list(OUTPUTS),
            dynamic_axes=dynamic,
            opset_version=OPSET,
            dynamo=False,
        )


def proof_batches(recipe: Recipe) -> Iterator[np.ndarray]:
    """Real images in two sizes, alone and in a batch of two: uint8 ``[N, H, W, 3]``."""
    scenes = sources.scenes(recipe.shared, "validation", 8)
    squares = [_square(scenes[row], 320) for row in range(4)]
    yield np.stack(squares[:1])
    yield np.stack(squares[1:3])
    yield np.stack(squares[3:4])[:, :224]


def _square(image: np.ndarray, side: int) -> np.ndarray:
    """The image's upper left, repeated where it is too small."""
    repeats = [-(-side // extent) for extent in image.shape[:2]]
    return np.tile(image, (*repeats, 1))[:side, :side]


def prove(model: Detector, onnx_path: Path, batches: Iterator[np.ndarray]) -> float:
    """The largest difference of PyTorch and ONNX Runtime. Raises ``ExportError`` by names, shapes, values, in order."""
    exported, worst = ExportedDetector(model).eval(), 0.0
    with open_backend(onnx_path, threads=1) as backend:
        names = [info.name for info in backend.outputs]
        if names != list(OUTPUTS):
            raise ExportError(f"the detector's outputs are {names} in ONNX, expected {list(OUTPUTS)}")
        for batch in batches:
            with torch.inference_mode():
                wanted = dict(zip(OUTPUTS, (tensor.numpy() for tensor in exported(torch.from_numpy(batch)))))
            found = backend.infer({"image": np.ascontiguousarray(batch)})
            for name in OUTPUTS:
                shapes = found[name].shape, wanted[name].shape
                if shapes[0] != shapes[1]:
                    raise ExportError(f"`{name}` has shape {shapes[0]} in ONNX, {shapes[1]} in PyTorch")
                worst = max(worst, float(np.abs(found[name] - wanted[name]).max()))
                if not worst <= TOLERANCE:
                    raise ExportError(f"`{name}` differs by {worst:.2g} in ONNX and PyTorch, allowed is {TOLERANCE}")
    return worst
