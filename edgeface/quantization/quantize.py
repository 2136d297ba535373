"""From a float ONNX model and its activation ranges to the 8-bit or 16-bit graph that a machine runs best."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from edgeface.common.files import atomic_path, sha256_file
from edgeface.errors import ArtifactError, ConfigError
from edgeface.quantization.canonicalise import prepare
from edgeface.quantization.fp16 import fp16_from_onnx
from edgeface.quantization.graph import Model, import_onnx, read_float_model, write_precision
from edgeface.quantization.qdq import qdq_from_onnx
from edgeface.quantization.ranges import Ranges
from edgeface.spec.model import PrecisionSpec
from edgeface.spec.precision import quant_scheme_of, resolve_target

PRECISIONS = ("int8", "fp16")


def quantize(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    precision: str,
    target: str = "auto",
    ranges: Ranges | None = None,
    keep_float: Collection[str] = (),
    calibration: Mapping[str, Any] | None = None,
    search: Mapping[str, Any] | None = None,
) -> Path:
    """Write the float model ``model`` in ``precision`` ("int8" or "fp16") for ``target`` and return ``out``.

    ``target``: "tensorrt", "cpu-x86", "cpu-arm", or "auto" for this machine's processor. "int8" needs the ``ranges``
    of this very model; ``keep_float`` names layers that stay in float. Input, outputs and their meaning do not change;
    the spec in the metadata records what was done, with the calibration set's ``name`` (and ``digest``, checked
    against the ranges') from ``calibration`` and the steps of a ``search``.

    Raises ``ArtifactError`` for a model that is quantised already, takes floats or holds what cannot be quantised,
    ``ConfigError`` for settings or ranges that do not fit, ``SinkError`` where ``out`` cannot be written.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"no precision `{precision}`: expected one of {', '.join(PRECISIONS)}")
    resolved = resolve_target(target)
    graph = read_float_model(model)
    source_sha256 = sha256_file(model)
    prepare(graph)
    keep = tuple(dict.fromkeys(keep_float))
    spec = PrecisionSpec(
        precision, precision, resolved, keep_float=keep, source_sha256=source_sha256, search=search or {}
    )
    if precision == "int8":
        spec = _to_int8(graph, spec, _checked(ranges, source_sha256, calibration or {}), calibration or {})
    else:
        fp16_from_onnx(graph, keep)
    write_precision(graph, f"`{model}`", spec)
    return _save(graph, Path(out), f"`{model}` in {precision}")


def _to_int8(graph: Model, spec: PrecisionSpec, ranges: Ranges, calibration: Mapping[str, Any]) -> PrecisionSpec:
    flavour = quant_scheme_of(spec.target)
    qdq_from_onnx(graph, flavour, ranges, spec.keep_float)
    return dataclasses.replace(
        spec,
        flavour=flavour.name,
        method=ranges.method,
        set_name=str(calibration.get("name", "")),
        set_digest=ranges.set_digest,
    )


def _checked(ranges: Ranges | None, source_sha256: str, calibration: Mapping[str, Any]) -> Ranges:
    if ranges is None:
        raise ConfigError("int8 needs the activation ranges of a calibration set: name one with --calibration")
    if ranges.model_sha256 != source_sha256:
        raise ConfigError(
            f"the ranges are those of the model {ranges.model_sha256[:12]}…, this one is {source_sha256[:12]}…; "
            "calibrate this very model"
        )
    digest = calibration.get("digest", ranges.set_digest)
    if digest != ranges.set_digest:
        raise ConfigError(
            f"the ranges come from calibration set {ranges.set_digest[:12]}…, not from {str(digest)[:12]}…; "
            "compute them from the set that is named"
        )
    return ranges


def _save(graph: Model, out: Path, what: str) -> Path:
    onnx = import_onnx()
    try:
        onnx.checker.check_model(graph, full_check=True)
    except Exception as error:  # onnx's errors share no base class
        reason = str(error).strip().splitlines()[0]
        raise ArtifactError(f"{what} is a graph that ONNX refuses ({reason}); keep the layer in float") from error
    with atomic_path(out) as temporary:
        temporary.write_bytes(graph.SerializeToString())
    return out
