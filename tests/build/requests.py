"""A tiny network whose answer is how bright a crop is, people to judge it on, and who listens to a build."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np

from edgeface.spec.model import MODEL_KEY
from tests.calibration.people import add_person, pattern
from tests.fixtures import SIZE, tiny_spec

BROKEN_LAYER = "on_pixels"


class Said:
    """A reporter that remembers."""

    def __init__(self, stop_at: str = "") -> None:
        self.notes: list[str] = []
        self._stop_at = stop_at

    def note(self, text: str) -> None:
        self.notes.append(text)

    def progress(self, label: str) -> AbstractContextManager[Callable[[int, int | None], None]]:
        if self._stop_at and label.startswith(self._stop_at):
            raise KeyboardInterrupt
        return nullcontext(lambda done, total: None)


def write_model(path: Path) -> Path:
    """The age is the mean grey (a Conv on the pixels) plus one (a Conv on a plane of ones), through a last Conv."""
    import onnx

    node, init, value = onnx.helper.make_node, onnx.numpy_helper.from_array, onnx.helper.make_tensor_value_info
    nodes = [
        node("Cast", ["crops"], ["pixels"], to=onnx.TensorProto.FLOAT),
        node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        node("Conv", ["planes", "thirds"], ["grey"], name=BROKEN_LAYER),
        node("Relu", ["grey"], ["light"]),
        node("Mul", ["planes", "nothing"], ["dark"]),
        node("Add", ["dark", "one"], ["ones"]),
        node("Conv", ["ones", "thirds"], ["offset"], name="on_ones"),
        node("Relu", ["offset"], ["plus"]),
        node("Add", ["light", "plus"], ["sum"]),
        node("Conv", ["sum", "unit"], ["same"], name="last"),
        node("ReduceMean", ["same"], ["level"], axes=[2, 3], keepdims=0),
        node("Neg", ["level"], ["less"]),
        node("Squeeze", ["level", "axis"], ["age"]),
        node("Mul", ["age", "one"], ["age_std"]),
        node("Concat", ["level", "less"], ["gender"], axis=1),
        node("Concat", ["level", "less", "less", "less", "less"], ["race"], axis=1),
    ]
    outputs = {"age": ["N"], "age_std": ["N"], "gender": ["N", 2], "race": ["N", 5]}
    constants = {
        "thirds": np.full((1, 3, 1, 1), 1 / 3, np.float32),
        "unit": np.ones((1, 1, 1, 1), np.float32),
        "nothing": np.float32(0),
        "one": np.float32(1),
        "axis": np.array([1], np.int64),
    }
    graph = onnx.helper.make_graph(
        nodes,
        "grey",
        [value("crops", onnx.TensorProto.UINT8, ["N", SIZE, SIZE, 3])],
        [value(name, onnx.TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [init(constant, name) for name, constant in constants.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.helper.set_model_props(model, {MODEL_KEY: tiny_spec().to_json()})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def people(folder: Path, darkness: int = 1) -> Path:
    """Very old people to judge on, and people to calibrate with whose images are ``darkness`` times darker."""
    for number in range(8):
        add_person(folder, (110, 0, 0), 3, number, (pattern(number) // darkness).astype(np.uint8))
    for fold in (1, 2):
        for number in range(6):
            add_person(folder, (110, 0, 0), fold, number)
    return folder


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
