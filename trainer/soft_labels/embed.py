"""Embeddings of labelled images by networks that others trained, for ``trainer.soft_labels.probe``: an ONNX file, or
dlib's.

Such networks see the whole image, cut it their own way, or take aligned crops, which a recipe's settings describe.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface.errors import ArtifactError, ImageError, MissingDependencyError
from edgeface.evaluation.datasets import FaceSet, in_folds
from edgeface.imaging.image_io import decode_image
from edgeface.runtime.open import open_backend
from trainer.config import Config
from trainer.data.samples import SOURCES, face_sets, load_samples
from trainer.soft_labels.labels import EMBEDDING, SoftLabels, stem

Embed = Callable[[Sequence[NDArray[np.uint8]], str], NDArray[np.float32]]
"""Images uint8 RGB and the source they are of (of ``trainer.data.samples.SOURCES``) → float32 ``[N, D]``."""

Pictures = Iterator[tuple[str, NDArray[np.uint8]]]
"""Names and images, uint8 ``[H, W, 3]`` RGB."""

Progress = Callable[[int, int], None]
"""Called with the number of images done and of all."""

BATCH = 16
_CHIP = 150
_CHIP_PADDING = 0.25
_FACE = {"utkface": (0.18, 0.22, 0.82, 0.86), "fairface": (0.2, 0.2, 0.8, 0.8), "manifest": (0.2, 0.2, 0.8, 0.8)}
"""Left, top, right, bottom of the face in images of each source, as fractions of the sides: they are cut about it."""


def write_embeddings(config: Config, embed: Embed, out: Path, progress: Progress, *, crops: bool = False,
                     mirror: bool = False, batch: int = BATCH) -> Path:  # fmt: skip
    """``embed`` every readable image of a recipe's folds (training, validation): the file's column "embedding".

    ``crops``: their aligned crops, cut as the recipe says, in place of whole images. ``mirror``: left to right.
    ``batch``: how many go through the network at once.
    """
    names: list[str] = []
    vectors: list[NDArray[np.float32]] = []
    total, pictures = _crops(config) if crops else _whole(config)
    for source, found in pictures:
        for part in _batches(found, batch):
            names += [stem(name) for name, _ in part]
            seen = [np.ascontiguousarray(picture[:, ::-1]) if mirror else picture for _, picture in part]
            vectors.append(embed(seen, source))
            progress(len(names), total)
    SoftLabels(tuple(names), {EMBEDDING: np.concatenate(vectors)}).save(out)
    return out


def onnx_embedding(path: Path, side: int, mean: float, scale: float, output: str | None = None) -> Embed:
    """A network of one input, float32 ``[N, 3, side, side]`` RGB, each value ``(0 … 255 - mean) · scale``.

    The whole image is scaled to ``side``. ``output``: its name, by default the network's first; more than two axes
    are flattened. Raises ``ArtifactError`` where the network is of another form.
    """
    backend = open_backend(path)
    names = [info.name for info in backend.outputs]
    wanted = output or names[0]
    if len(backend.inputs) != 1 or backend.inputs[0].dtype != np.float32 or wanted not in names:
        raise ArtifactError(f"`{path}`: expected one float32 input and an output {wanted}, found inputs "
                            f"{[(i.name, str(i.dtype)) for i in backend.inputs]} and outputs {names}")  # fmt: skip

    def embed(pictures: Sequence[NDArray[np.uint8]], source: str) -> NDArray[np.float32]:
        scaled = np.stack([cv2.resize(picture, (side, side)) for picture in pictures])
        values = (scaled.transpose(0, 3, 1, 2).astype(np.float32) - mean) * scale
        answers = backend.infer({backend.inputs[0].name: np.ascontiguousarray(values)})
        return np.asarray(answers[wanted], np.float32).reshape(len(values), -1)

    return embed


def dlib_embedding() -> Embed:
    """dlib's face recognition network, 128 numbers a face, which its author placed in the public domain (CC0).

    King, "Dlib-ml: a machine learning toolkit", JMLR 2009; a ResNet trained on about 3 million faces of 7,485 people.
    """
    dlib, models = _dlib()
    landmarks = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
    network = dlib.face_recognition_model_v1(str(models / "dlib_face_recognition_resnet_model_v1.dat"))

    def chip(picture: NDArray[np.uint8], source: str) -> NDArray[np.uint8]:
        height, width = picture.shape[:2]
        left, top, right, bottom = _FACE[source]
        box = dlib.rectangle(int(left * width), int(top * height), int(right * width), int(bottom * height))
        cut: NDArray[np.uint8] = dlib.get_face_chip(picture, landmarks(picture, box), _CHIP, _CHIP_PADDING)
        return cut

    def embed(pictures: Sequence[NDArray[np.uint8]], source: str) -> NDArray[np.float32]:
        chips = [chip(picture, source) for picture in pictures]
        return np.array(network.compute_face_descriptor(chips, 0), np.float32)

    return embed


def _dlib() -> tuple[Any, Path]:
    """The package, and the folder of weights that ``face_recognition_models`` installs (it need not be imported)."""
    found = importlib.util.find_spec("face_recognition_models")
    if found is None or found.origin is None or importlib.util.find_spec("dlib") is None:
        raise MissingDependencyError("dlib's embeddings need two packages that are not both installed: "
                                     "pip install dlib-bin face_recognition_models")  # fmt: skip
    import dlib

    return dlib, Path(found.origin).parent / "models"


def _whole(config: Config) -> tuple[int, Iterator[tuple[str, Pictures]]]:
    """How many images a recipe's folds have, and they by source and set."""
    sources = {
        source: [dataclasses.replace(item, faces=in_folds(item.faces, _folds(config))) for item in sets]
        for source, sets in face_sets(config).items()
    }
    total = sum(len(item.faces) for sets in sources.values() for item in sets)
    return total, ((source, _pictures(item)) for source, sets in sources.items() for item in sets)


def _crops(config: Config) -> tuple[int, Iterator[tuple[str, Pictures]]]:
    """How many crops a recipe's folds have, and they by source."""
    samples = load_samples(config).samples
    rows = [(source, samples.rows(_folds(config), code)) for code, source in enumerate(SOURCES)]
    return sum(len(here) for _, here in rows), (
        (source, ((str(samples.name[row]), samples.pixels[row]) for row in here)) for source, here in rows
    )


def _folds(config: Config) -> set[int]:
    return {*config.train_folds, *config.validation_folds}


def _pictures(faces: FaceSet) -> Pictures:
    """Names and images of a set, unreadable ones left out."""
    for face, raw in zip(faces.faces, faces.read(face.name for face in faces.faces)):
        try:
            yield face.name, decode_image(raw, face.name)
        except ImageError:
            continue


def _batches(pictures: Pictures, size: int) -> Iterator[list[tuple[str, NDArray[np.uint8]]]]:
    while batch := list(islice(pictures, size)):
        yield batch
