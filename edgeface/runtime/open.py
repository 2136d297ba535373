"""Open a model file with the runtime that its suffix names; the only file that knows them all."""

from __future__ import annotations

import os
from pathlib import Path

from edgeface.common.files import ENGINE_SUFFIX
from edgeface.errors import BackendError
from edgeface.runtime.base import REFERENCE_RUNTIME, Backend, check_runtime
from edgeface.spec.metadata import passport_path
from edgeface.spec.passport import check_bytes, check_passport


def open_backend(
    path: str | os.PathLike[str], threads: int = 0, simulate: bool = False, runtime: str = REFERENCE_RUNTIME
) -> Backend:
    """Open an artefact with the runtime its suffix names; imports that runtime only now.

    ``threads`` limits the CPU threads of one inference (0: as many as there are cores). Where a passport lies beside
    the artefact, and for every engine, artefact and machine have to be those of the passport. ``runtime``, one of
    ``ONNX_RUNTIMES``, runs ONNX files whatever the environment says: proofs, gates and passports are ONNX Runtime's.
    ``simulate`` is known to ONNX Runtime alone, which then runs the file in any case.
    """
    check_runtime("runtime", runtime)
    suffix = Path(path).suffix.lower()
    if suffix == ENGINE_SUFFIX:
        check_bytes(path)
        from edgeface.runtime.trt import TrtBackend

        return TrtBackend(path)
    if suffix == ".onnx":
        if passport_path(path).exists():
            check_passport(path)
        if runtime == "openvino" and not simulate:
            from edgeface.runtime.openvino import OpenVinoBackend

            return OpenVinoBackend(path, threads=threads)
        from edgeface.runtime.ort import OrtBackend

        return OrtBackend(path, threads=threads, simulate=simulate)
    raise BackendError(
        f"no runtime for `{path}`: expected an engine or a file ending in .onnx, found `{suffix or 'no suffix'}`"
    )
