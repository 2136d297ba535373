"""What is to be built: the order, checked against model and machine, and the key of all that decides its result."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeface import __version__
from edgeface.common import machine
from edgeface.common.files import ENGINE_SUFFIX, sha256_file
from edgeface.spec.metadata import onnx_metadata
from edgeface.calibration import CalibrationSet, read_set
from edgeface.common.install import install_extra
from edgeface.errors import ArtifactError, BackendError, ConfigError
from edgeface.spec.passport import cpu_identity
from edgeface.spec.precision import precision_in, resolve_target
from edgeface.spec.recipe import Recipe


@dataclass(frozen=True)
class BuildRequest:
    """What to build and how far to go.

    ``data`` are the folders and zips of labelled faces that hold the calibration set and the folds of the gate,
    ``labels`` their FairFace label file (``None``: UTKFace's names). ``gate`` False leaves the engine unjudged, a path
    names a gate file with other budgets. ``search`` puts sensitive layers back to float where int8 misses its budget.
    ``wait`` for another build of the same engine, or refuse. ``limit`` judges on so many faces only.
    """

    model: Path
    recipe: Recipe
    out: Path
    data: tuple[Path, ...] = ()
    labels: Path | None = None
    gate: bool | Path = True
    search: bool = True
    wait: bool = True
    limit: int | None = None

    @property
    def why_unjudged(self) -> str:
        """Why no gate stands before this engine; empty where one does."""
        if self.recipe.on_cpu and self.recipe.precision == "fp32":
            return "it is the float model itself"
        return "--no-gate" if self.gate is False else ""


@dataclass(frozen=True)
class ResolvedBuild:
    """An order with everything looked up that decides its result."""

    order: BuildRequest
    target: str
    metadata: Mapping[str, str]
    source_sha256: str
    calibration: CalibrationSet | None
    identity: Mapping[str, str]
    key: str = field(default="", compare=False)


def resolve(order: BuildRequest) -> ResolvedBuild:
    """Everything the order depends on. Raises ``EdgefaceError`` where it cannot be built here."""
    recipe = order.recipe
    target = resolve_target(recipe.target)
    metadata = onnx_metadata(order.model)
    _check_order(order, target, metadata)
    calibration = read_set(recipe.calibration) if recipe.precision == "int8" and recipe.calibration else None
    identity = _identity(recipe)
    job = ResolvedBuild(order, target, metadata, sha256_file(order.model), calibration, identity)
    return dataclasses.replace(job, key=_key(job))


def _check_order(order: BuildRequest, target: str, metadata: Mapping[str, str]) -> None:
    recipe, suffix = order.recipe, ".onnx" if order.recipe.on_cpu else ENGINE_SUFFIX
    if order.out.suffix.lower() != suffix:
        raise ConfigError(f"`{order.out}`: an engine for {recipe.target} ends in {suffix}, name it so")
    if order.out.resolve() == order.model.resolve():
        raise ConfigError(f"writing `{order.out}` would overwrite the model, name another place")
    made = precision_in(metadata)
    if made is not None:
        raise ArtifactError(
            f"`{order.model}` is {made.precision} for {made.target} already; build from the float model it came from"
        )
    if recipe.precision == "int8" and recipe.calibration is None:
        raise ConfigError("int8 needs a calibration set: name one with --calibration or in the recipe")
    if not order.data and (recipe.precision == "int8" or not order.why_unjudged):
        what = (
            "calibration and gate need labelled faces"
            if recipe.precision == "int8"
            else "the gate needs labelled faces"
        )
        raise ConfigError(
            f"{what}: name them with --data" + (", or add --no-gate" if recipe.precision != "int8" else "")
        )


def _identity(recipe: Recipe) -> Mapping[str, str]:
    """The machine, which has to be the recipe's."""
    if recipe.on_cpu:
        _check_processor(recipe)
        return cpu_identity()
    from edgeface.cuda.pycuda_context import find_gpu

    try:
        gpu = find_gpu()  # before TensorRT is loaded, which takes no missing GPU well
    except BackendError as error:
        where = "JetPack's TensorRT" if machine.jetson() else install_extra("gpu", "tensorrt")
        what = f"an engine is built on the machine that runs it, with a GPU and {where}"
        raise BackendError(f"{error}; {what}; for this processor: --target cpu") from error
    if recipe.compute_capability not in ("", gpu.compute_capability):
        raise ConfigError(
            f"the recipe is for GPUs of compute capability {recipe.compute_capability}, this one "
            f"({gpu.name}) is {gpu.compute_capability}; take the recipe of this machine"
        )
    from edgeface.runtime.trt import identity

    return identity()


def _check_processor(recipe: Recipe) -> None:
    here = resolve_target("cpu")
    if resolve_target(recipe.target) != here:
        raise ConfigError(
            f"target: an engine for {recipe.target} is built and judged on such a processor, this one is {here}; "
            f"a file without verdict: edgeface quantize --target {recipe.target}"
        )


def _key(job: ResolvedBuild) -> str:
    """Hex sha256 over all that decides the engine's bytes and its verdict."""
    cpu = machine.cpu()
    runtime = machine.version("onnxruntime") or machine.version("onnxruntime-gpu")
    parts = [
        job.source_sha256,
        job.order.recipe.digest,
        job.target,
        job.calibration.digest if job.calibration else "",
        __version__,
        dict(job.identity),
        [cpu["name"], cpu["features"], runtime] if job.order.recipe.on_cpu else [],
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def rebuild_command(order: BuildRequest) -> str:
    """The command line that builds the engine of ``order`` again."""
    recipe = order.recipe
    words = ["edgeface", "build-engine", str(order.model)]
    for item in dataclasses.fields(recipe):
        value = getattr(recipe, item.name)
        if value != item.default or item.name in ("target", "precision"):
            option = f"--{item.name.replace('_', '-')}"
            words += [option] if value is True else [option, str(value)]
    for folder in order.data:
        words += ["--data", str(folder)]
    words += ["--labels", str(order.labels)] if order.labels else []
    words += ["--no-gate"] if order.gate is False else []
    words += ["--gate", str(order.gate)] if isinstance(order.gate, Path) else []
    words += [] if order.search else ["--no-search"]
    words += [] if order.limit is None else ["--limit", str(order.limit)]
    return shlex.join([*words, "-o", str(order.out)])
