"""Other runtimes with *our* attribute network: each takes uint8 crops ``[N, S, S, 3]`` and gives its answers by name.

Every one is set up for speed: one shape known beforehand, float32 arithmetic, the threads it is told.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import Unavailable, required
from edgeface.export.opencv_variant import write_opencv_variant
from edgeface.runtime.open import open_backend
from edgeface.runtime.openvino import OpenVinoBackend
from edgeface.spec.metadata import model_spec

Crops = NDArray[np.uint8]
Answers = dict[str, NDArray[Any]]
Infer = Callable[[Crops], Answers]


class Setting(NamedTuple):
    """The network's file, the batch size and thread count that will be asked for, a folder for what is converted."""

    model: Path
    batch: int
    threads: int
    folder: Path

    @property
    def shape(self) -> list[int]:
        """Of the crops: ``[N, S, S, 3]``."""
        size = model_spec(self.model).input_size
        return [self.batch, size, size, 3]

    @property
    def outputs(self) -> list[str]:
        """Names of the answers, in the graph's order."""
        with open_backend(self.model, 1) as backend:
            return [info.name for info in backend.outputs]


def onnx_runtime(setting: Setting) -> Infer:
    """Our default, as ``edgeface run`` opens it."""
    backend = open_backend(setting.model, setting.threads)
    name = backend.inputs[0].name
    return lambda crops: backend.infer({name: crops})


def openvino(setting: Setting) -> Infer:
    """OpenVINO's CPU plugin, as ``EDGEFACE_RUNTIME=openvino`` runs it."""
    required("openvino")
    backend = OpenVinoBackend(setting.model, setting.threads)
    (crops_in,) = backend.inputs
    return lambda crops: backend.infer({crops_in.name: crops})


def ncnn(setting: Setting) -> Infer:
    """ncnn, from our variant without uint8, converted by its own pnnx; it knows no batches."""
    package = required("ncnn")
    param = _by_pnnx(setting, _float_variant(setting), "f32")["ncnn.param"]
    net = package.Net()
    net.opt.num_threads = setting.threads
    for half in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, half, False)
    if net.load_param(str(param)) or net.load_model(str(param.with_suffix(".bin"))):
        raise Unavailable("ncnn cannot load what pnnx made of our graph")
    (source,), names = net.input_names(), setting.outputs

    def infer(crops: Crops) -> Answers:
        pixels = crops[0].astype(np.float32)  # held here, since the Mat borrows its memory
        extractor = net.create_extractor()
        extractor.input(source, package.Mat(pixels))
        found = [extractor.extract(out) for out in net.output_names()]
        if any(code for code, _ in found):
            raise Unavailable("ncnn cannot run what pnnx made of our graph")
        return {name: np.array(value)[None] for name, (_, value) in zip(names, found)}

    return infer


def opencv_dnn(setting: Setting) -> Infer:
    """OpenCV's DNN module with the variant that C++ falls back to."""
    import cv2

    net = cv2.dnn.readNetFromONNX(str(_float_variant(setting)))
    cv2.setNumThreads(setting.threads)
    names = setting.outputs

    def infer(crops: Crops) -> Answers:
        net.setInput(crops.astype(np.float32))
        return dict(zip(names, net.forward(names)))

    return infer


def torch_eager(setting: Setting) -> Infer:
    """PyTorch, layer by layer."""
    return _torch_infer(setting, compiled=False)


def torch_compiled(setting: Setting) -> Infer:
    """PyTorch through ``torch.compile``'s default compiler for CPUs, which needs g++."""
    return _torch_infer(setting, compiled=True)


RUNTIMES: dict[str, Callable[[Setting], Infer]] = {
    "OpenVINO": openvino,
    "ncnn": ncnn,
    "OpenCV DNN": opencv_dnn,
    "PyTorch, eager": torch_eager,
    "PyTorch, torch.compile": torch_compiled,
}
"""By the name in tables; the runtimes that ONNX Runtime is held against."""


def _torch_infer(setting: Setting, compiled: bool) -> Infer:
    """The module that pnnx writes for our graph, so that the weights are those of the file."""
    torch = required("torch")
    torch.set_num_threads(setting.threads)
    source = _by_pnnx(setting, setting.model, "u8")["pnnx.py"]
    names: dict[str, Any] = {"__name__": "pnnx_module"}
    exec(compile(source.read_text(encoding="utf-8"), str(source), "exec"), names)
    net = names["Model"]().eval()
    net = torch.compile(net) if compiled else net
    outputs = setting.outputs

    def infer(crops: Crops) -> Answers:
        with torch.inference_mode():
            return {name: value.numpy() for name, value in zip(outputs, net(torch.from_numpy(crops)))}

    return infer


def _float_variant(setting: Setting) -> Path:
    """Our network with float32 crops, one at a time."""
    if setting.batch != 1:
        raise Unavailable("takes one face at a time")
    path = setting.folder / "float_variant.onnx"
    if not path.exists():
        write_opencv_variant(setting.model, path)
    return path


def _by_pnnx(setting: Setting, model: Path, dtype: str) -> dict[str, Path]:
    """What pnnx makes of an ONNX file for the setting's shape: its files by kind, ``ncnn.param`` and ``pnnx.py``."""
    pnnx = required("pnnx")
    folder = setting.folder / f"pnnx-{model.stem}-{setting.batch}"
    made = {"ncnn.param": folder / "net.ncnn.param", "pnnx.py": folder / "net_pnnx.py"}
    if not folder.exists():
        folder.mkdir()
        source = folder / "net.onnx"
        source.write_bytes(model.read_bytes())
        size = ",".join(map(str, setting.shape))
        command = [pnnx.EXEC_PATH, str(source), f"inputshape=[{size}]{dtype}", "fp16=0"]
        subprocess.run(command, cwd=folder, capture_output=True, check=False)
    if not all(path.exists() for path in made.values()):
        raise Unavailable("pnnx cannot convert our graph")
    return made
