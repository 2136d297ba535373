"""What a model file says of itself, whatever kind it is: the facts of ``edgeface info``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from edgeface.common.archives import ArchiveFault, open_archive, read_entry
from edgeface.common.files import sha256_file
from edgeface.errors import ArtifactError, SpecError
from edgeface.inference.detector_families import recognise
from edgeface.runtime.base import TensorInfo
from edgeface.runtime.open import open_backend
from edgeface.spec.metadata import detector_spec, model_spec, onnx_metadata
from edgeface.spec.model import MODEL_KEY, DetectorSpec, ModelSpec

Facts = dict[str, Any]
_LARGEST_SPEC = 1 << 24


def model_info(path: str | os.PathLike[str]) -> Facts:
    """Contract, inputs and outputs, size and sha256 of a model file: attribute network, its program, or face detector.

    Raises ``ArtifactError`` or ``SpecError`` for a file that is none.
    """
    is_program = Path(path).suffix.lower() == ".pt2"
    facts = _program_facts(Path(path)) if is_program else _onnx_facts(path)
    return {"path": str(path), "bytes": Path(path).stat().st_size, "sha256": sha256_file(path), **facts}


def _onnx_facts(path: str | os.PathLike[str]) -> Facts:
    is_network = MODEL_KEY in onnx_metadata(path)
    with open_backend(path, simulate=True) as backend:  # to look at, also where this processor must not run it
        if is_network:
            spec: ModelSpec | DetectorSpec | None = model_spec(path)
            kind = "attribute network"
        else:
            spec = detector_spec(path)
            kind = f"face detector ({recognise(backend.outputs, spec, f'`{path}`').name})"
        return {
            "kind": kind,
            "device": backend.device,
            "inputs": [_tensor(info) for info in backend.inputs],
            "outputs": [_tensor(info) for info in backend.outputs],
            "spec": None if spec is None else json.loads(spec.to_json()),
        }


def _tensor(info: TensorInfo) -> Facts:
    return {"name": info.name, "dtype": str(info.dtype), "shape": list(info.shape)}


def _program_facts(path: Path) -> Facts:
    """The spec inside a ``torch.export`` program, which is a zip; PyTorch is not needed to look."""
    try:
        with open_archive(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(f"/extra/{MODEL_KEY}")]
            text = read_entry(archive, names[0], _LARGEST_SPEC).decode() if names else ""
    except (ArchiveFault, UnicodeDecodeError) as error:
        if isinstance(error.__cause__, OSError):
            raise ArtifactError(f"cannot read model `{path}`: {error}") from error
        raise ArtifactError(
            f"`{path}` is not a torch.export program or is damaged ({error}); train or copy it again"
        ) from error
    if not text:
        raise SpecError(f"`{path}` has no `{MODEL_KEY}` inside, so nothing says how to feed it; train it again")
    return {"kind": "trained program", "spec": json.loads(ModelSpec.from_json(text, f"`{path}`").to_json())}
