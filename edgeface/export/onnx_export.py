"""From the trainer's ``model.pt2`` to the ONNX file that every runtime reads, and the proof that both answer alike.

A ``.pt2`` is a zip written by ``torch.export.save``. torch would unpickle, that is run, whatever such an archive
declares to be pickled; so the archive is looked at first and only plain tensors are let through.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface import __version__
from edgeface.common.archives import ArchiveFault, read_entry
from edgeface.common.files import atomic_path, open_regular
from edgeface.common.install import missing
from edgeface.errors import ArtifactError, ExportError, SpecError
from edgeface.runtime.base import Backend
from edgeface.runtime.open import open_backend
from edgeface.spec.model import MODEL_KEY, ModelSpec

OPSET = 17
"""The newest that TensorRT 8.6 reads."""
_IR_VERSION = 8  # the file format that came with opset 17
_PROOF_CROPS = 8
_BATCH_AXIS = "N"

_PLAIN_ENTRIES = re.compile(
    r"archive_format|archive_version|byteorder|\.data/\w+|models/[^/]+\.json|extra/[^/]+"
    r"|data/sample_inputs/[^/]+\.pt|data/(weights|constants)/((weight|tensor)_\d+|[^/]+_config\.json)"
)
"""Everything that the archive of a plain program holds, below its top folder."""

Tensors = Mapping[str, NDArray[Any]]


def export_onnx(
    program_path: str | os.PathLike[str],
    onnx_path: str | os.PathLike[str],
    crops: NDArray[np.uint8] | None = None,
) -> ModelSpec:
    """Write ``program_path`` (``.pt2``) as ONNX, opset 17, any batch size, and return the ``ModelSpec`` it carries.

    Before the file appears, ``crops`` (uint8 ``[N, S, S, 3]`` RGB; default: synthetic ones) go through PyTorch and
    ONNX Runtime; every head must agree within its declared tolerance. Raises ``ArtifactError`` or ``SpecError`` for an
    unusable program, ``ExportError`` where the graphs differ, ``MissingDependencyError`` without the extra ``train``.
    """
    program, spec = load_program(program_path)
    model = onnx_from_program(program, spec)
    proof = proof_crops(spec.input_size) if crops is None else crops
    with atomic_path(onnx_path) as temporary:
        temporary.write_bytes(model.SerializeToString())
        with open_backend(temporary, threads=1) as backend:
            for batch in (proof[:1], proof):
                compare(_program_answers(program, spec, batch), _backend_answers(backend, batch), spec)
    return spec


def load_program(path: str | os.PathLike[str]) -> tuple[Any, ModelSpec]:
    """The ``torch.export.ExportedProgram`` of a ``.pt2`` and its spec, without running anything that it contains.

    Raises ``ArtifactError`` for a file that is no such archive or holds more than tensors and a graph, ``SpecError``
    for one without a valid spec.
    """
    torch = _import_torch()
    content = _plain_archive(Path(path), torch)
    extra_files = {MODEL_KEY: ""}
    try:
        with _quiet():
            program = torch.export.load(io.BytesIO(content), extra_files=extra_files)
    except Exception as error:  # torch raises whatever its parsers meet
        raise ArtifactError(
            f"`{path}` is damaged or of another torch ({_first_line(error)}); train it again"
        ) from error
    if not extra_files[MODEL_KEY]:
        raise SpecError(f"`{path}` carries no `{MODEL_KEY}`, so nothing says how to feed it; write it with the trainer")
    return program, ModelSpec.from_json(extra_files[MODEL_KEY], f"`{path}`")


def onnx_from_program(program: Any, spec: ModelSpec) -> Any:
    """The program as a simplified, checked ``onnx.ModelProto`` with named inputs, outputs and the spec inside."""
    torch, onnx, onnxsim = _import_torch(), _import("onnx"), _import("onnxsim")
    _import("onnxscript")
    names = [head.name for head in spec.heads]
    try:
        with _quiet():
            exported = torch.onnx.export(
                program, dynamo=True, opset_version=OPSET + 1, input_names=["crops"], output_names=names, verbose=False
            )
            model = exported.model_proto
            _drop_newer_attributes(model)
            model = onnx.version_converter.convert_version(model, OPSET)
            model, simplified = onnxsim.simplify(model)
    except Exception as error:  # three packages, each with errors of its own
        raise ExportError(f"the program cannot be written as ONNX opset {OPSET}: {_first_line(error)}") from error
    if not simplified:
        raise ExportError("onnxsim changed the answers of the graph; install another version of onnxsim")
    _tidy(model, onnx)
    onnx.helper.set_model_props(model, {MODEL_KEY: spec.to_json()})
    onnx.checker.check_model(model, full_check=True)
    return model


def compare(expected: Tensors, found: Tensors, spec: ModelSpec) -> None:
    """Raise ``ExportError`` unless ``found`` has the names, then the shapes, then the values of ``expected``.

    Both map output names to float32 arrays; each head's own ``tolerance`` bounds the largest absolute difference.
    """
    if set(found) != set(expected):
        raise ExportError(f"output names differ: expected {', '.join(expected)}, found {', '.join(found)}")
    for name, want in expected.items():
        if found[name].shape != want.shape:
            raise ExportError(f"output `{name}`: expected shape {want.shape}, found {found[name].shape}")
    for name, want in expected.items():
        head = spec.head(name)
        worst = float(np.abs(found[name].astype(np.float64) - want).max(initial=0.0))
        if not worst <= head.tolerance:  # also where it is NaN
            raise ExportError(
                f"output `{name}` differs by up to {worst:.3g} {head.unit}".rstrip()
                + f", its tolerance is {head.tolerance:g}; try another version of torch, onnxscript or onnxruntime"
            )


def proof_crops(size: int) -> NDArray[np.uint8]:
    """Synthetic crops uint8 ``[8, size, size, 3]``: noise, and smooth blobs with the contrast of photographs."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (_PROOF_CROPS // 2, size, size, 3), dtype=np.uint8)
    coarse = random.integers(0, 256, (_PROOF_CROPS // 2, 6, 6, 3)).astype(np.float64)
    at = np.linspace(0, 5, size)
    low, part = at.astype(int).clip(max=4), at % 1.0
    part[-1] = 1.0
    rows = coarse[:, low] * (1 - part)[:, None, None] + coarse[:, low + 1] * part[:, None, None]
    blobs = rows[:, :, low] * (1 - part)[:, None] + rows[:, :, low + 1] * part[:, None]
    return np.concatenate([noise, blobs.round().astype(np.uint8)])


def _program_answers(program: Any, spec: ModelSpec, crops: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    torch = _import_torch()
    try:
        with torch.inference_mode():
            outputs = program.module()(torch.from_numpy(np.ascontiguousarray(crops)))
    except Exception as error:  # torch raises whatever its operators meet
        raise ExportError(f"the program does not take crops of shape {crops.shape}: {_first_line(error)}") from error
    if len(outputs) != len(spec.heads):
        raise ExportError(f"the program has {len(outputs)} outputs, its spec names {len(spec.heads)} heads")
    return {head.name: output.numpy() for head, output in zip(spec.heads, outputs)}


def _backend_answers(backend: Backend, crops: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    return backend.infer({backend.inputs[0].name: crops})


def _plain_archive(path: Path, torch: Any) -> bytes:
    """The file's bytes, once it is known to hold a graph and tensors and nothing that torch would unpickle or load."""
    try:
        with open_regular(path) as file:
            content = file.read()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_entries(path, archive, torch)
    except ArtifactError:
        raise
    except FileNotFoundError as error:
        raise ArtifactError(f"no program at `{path}`: expected a model.pt2 that the trainer wrote") from error
    except OSError as error:
        raise ArtifactError(f"cannot read program `{path}`: {error.strerror or error}") from error
    except (zipfile.BadZipFile, ArchiveFault, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"`{path}` is not a torch.export program (.pt2) or is damaged; train it again") from error
    return content


def _check_entries(path: Path, archive: zipfile.ZipFile, torch: Any) -> None:
    entries = {name.partition("/")[2]: name for name in archive.namelist()}
    if "archive_format" not in entries:
        raise ArtifactError(f"`{path}` is not a torch.export program (.pt2) of torch 2.8 or later; train it again")
    strange = [name for name in entries if not _PLAIN_ENTRIES.fullmatch(name)]
    pickled = [
        f"{name}: {key}"
        for name, entry in entries.items()
        if name.endswith("_config.json")
        for key, item in json.loads(read_entry(archive, entry, path.stat().st_size))["config"].items()
        if item["use_pickle"] or not re.fullmatch(r"(weight|tensor)_\d+", item["path_name"])
    ]
    if strange or pickled:
        raise ArtifactError(
            f"`{path}` holds more than a graph and tensors ({(strange + pickled)[0]}), so it is refused"
        )
    for name, entry in entries.items():
        if name.endswith(".pt"):
            _check_tensors(path, read_entry(archive, entry, path.stat().st_size), torch)


def _check_tensors(path: Path, content: bytes, torch: Any) -> None:
    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except Exception as error:  # also pickle.UnpicklingError, which torch answers by unpickling everything
        raise ArtifactError(f"`{path}` holds pickled objects in its sample inputs, so it is refused") from error


def _drop_newer_attributes(model: Any) -> None:
    """Remove what opset 18 added to reductions where it says the default, since onnx's converter would leave it in."""
    for node in model.graph.node:
        if node.op_type.startswith("Reduce") and node.op_type != "ReduceSum":
            newer = [item for item in node.attribute if item.name == "noop_with_empty_axes" and item.i == 0]
            for item in newer:
                node.attribute.remove(item)


def _tidy(model: Any, onnx: Any) -> None:
    """Name the batch axis, and drop what the exporter noted of its own source files."""
    model.ir_version = _IR_VERSION
    model.producer_name, model.producer_version, model.doc_string = "edgeface", __version__, ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    model.graph.name, model.graph.doc_string = "attributes", ""
    for item in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        del item.metadata_props[:]
        item.doc_string = ""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = _BATCH_AXIS


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' notices of deprecations inside themselves."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _import_torch() -> Any:
    return _import("torch")


def _import(package: str) -> Any:
    import importlib

    try:
        module = importlib.import_module(package)
        if package == "onnx":
            importlib.import_module("onnx.version_converter")
    except ImportError as error:
        raise missing(package, "train", "exporting a trained program") from error
    return module


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
