"""From a float model and a recipe to an engine for this machine: quantise, build, judge, publish with a passport.

The same command serves every machine: on a GPU the engine is TensorRT's, on a processor it is the quantised ONNX file.
What was built from the same inputs on the same machine is not built again, and whatever fails leaves nothing behind.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeface import __version__
from edgeface.common import machine
from edgeface.common.files import cache_dir, sha256_file
from edgeface.spec.metadata import onnx_metadata, passport_path
from edgeface.build.acceptance import GATE_FOLD, Gate, EvaluationResult, faces_digest
from edgeface.build.evaluators import read_gate
from edgeface.build.request import ResolvedBuild, BuildRequest, resolve, rebuild_command
from edgeface.build.steps import Reporter, Silence, engine_of, layer_precisions, quantised
from edgeface.errors import ArtifactError, ConfigError, EdgefaceError, ParityError, SinkError
from edgeface.spec.signature import sign
from edgeface.spec.passport import Passport, load_passport
from edgeface.spec.precision import precision_in

__all__ = ["Built", "BuildRequest", "build_engine"]

_LOCKED_NOTE = "another process builds this engine already, waiting for it"


@dataclass(frozen=True)
class Built:
    """The engine at ``path``; ``fresh`` False where it was up to date already."""

    path: Path
    passport: Passport
    fresh: bool


def build_engine(order: BuildRequest, reporter: Reporter | None = None) -> Built:
    """Build, judge and publish the engine ``order.out`` with its passport beside it.

    Raises ``ParityError`` where it misses its budget, ``ConfigError`` for a recipe that does not fit model or machine,
    ``BackendError`` without a GPU and ``MissingDependencyError`` without TensorRT where the target needs them,
    ``SinkError`` where nothing can be written. Then, and on Ctrl-C, what lay at ``order.out`` stays as it was.
    """
    say = reporter or Silence()
    job = resolve(order)
    with _lock(job.key, order.wait, say):
        known = _up_to_date(job)
        if known is not None:
            return Built(order.out, known, fresh=False)
        try:
            order.out.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{order.out.name}-", dir=order.out.parent) as folder:
                return Built(order.out, _build(job, Path(folder), say), fresh=True)
        except OSError as error:
            if isinstance(error, EdgefaceError):
                raise
            raise SinkError(f"cannot write `{order.out}`: {error.strerror or error}") from error


def _up_to_date(job: ResolvedBuild) -> Passport | None:
    """The passport of the engine that is there already, if it came from the same inputs and was judged as asked."""
    out = job.order.out
    try:
        passport = load_passport(out)
        if passport is None or passport.key != job.key or sha256_file(out) != passport.engine_sha256:
            return None
    except (ArtifactError, OSError):
        return None
    if passport.precision.get("search") and not job.order.search:
        return None  # it owes its verdict to layers in float, which the order rules out
    return passport if job.order.why_unjudged or _is_judged(job, passport) else None


def _is_judged(job: ResolvedBuild, passport: Passport) -> bool:
    """Whether the engine's verdict is the one asked for: by the same budget, on the same faces, and as many of them."""
    verdict = passport.gate
    if verdict.get("verdict") != "passed" or verdict.get("limit") not in (None, job.order.limit):
        return False
    same = verdict.get("budget") == dataclasses.asdict(read_gate(job.order))
    return same and verdict.get("faces_digest") == faces_digest(job.order)


def _build(job: ResolvedBuild, folder: Path, say: Reporter) -> Passport:
    order = job.order
    candidate = folder / order.out.name
    passport = unjudged_engine(job, quantised(job, folder, say), folder, say)
    if order.why_unjudged:
        return _publish(passport, candidate, order.out, {"verdict": "not judged", "why": order.why_unjudged})
    gate = Gate(job, folder, say, _fp16_baseline(job, folder, say))
    judgement = gate.judge(candidate)
    if judgement.lossy and order.recipe.precision == "int8" and order.search:
        passport = unjudged_engine(job, gate.search(), folder, say)
        judgement = gate.judge(candidate)
    if judgement.failures:
        raise ParityError(_verdict(order, judgement))
    if judgement.figures.get("groups_judged") == 0:
        say.note(f"no group of fold {GATE_FOLD} is large enough to be judged: the verdict is on all faces only")
    return _publish(passport, candidate, order.out, {"verdict": "passed", **judgement.figures})


def _fp16_baseline(job: ResolvedBuild, folder: Path, say: Reporter) -> Path | None:
    """The fp16 engine that an int8 one has to outrun where both are TensorRT's, for else there is no use for it."""
    order = job.order
    if order.recipe.on_cpu or order.recipe.precision != "int8":
        return None
    recipe = dataclasses.replace(order.recipe, precision="fp16", calibration=None)
    place = folder / "fp16"
    place.mkdir()
    fp16_baseline = dataclasses.replace(job, calibration=None, order=dataclasses.replace(order, recipe=recipe))
    unjudged_engine(fp16_baseline, quantised(fp16_baseline, place, say), place, say)
    return place / order.out.name


def unjudged_engine(job: ResolvedBuild, graph: Path, folder: Path, say: Reporter) -> Passport:
    """Build the job's engine of ``graph`` in ``folder``, under the name that was ordered, and lay a passport beside it
    that knows no verdict, since nothing loads without one."""
    order = job.order
    candidate = folder / order.out.name
    details = engine_of(job, graph, candidate, say)
    passport = Passport(
        key=job.key,
        engine_sha256=sha256_file(candidate),
        target=job.target,
        source={"name": order.model.name, "sha256": job.source_sha256},
        recipe=order.recipe.to_dict(),
        machine=dict(job.identity),
        command=rebuild_command(order),
        calibration=None if not job.calibration else {"name": job.calibration.name, "digest": job.calibration.digest},
        precision=_precision(onnx_metadata(graph)),
        layers=details.layers or layer_precisions(graph),
        metadata=onnx_metadata(graph),
        measured_on=machine.fingerprint(),
        timing_cache_sha256=details.timing_cache_sha256,
        edgeface=__version__,
    )
    passport.write(passport_path(candidate))
    return passport


def _precision(metadata: Mapping[str, str]) -> dict[str, object]:
    """The graph's precision as JSON has it."""
    made = precision_in(metadata)
    return {"precision": "fp32"} if made is None else dict(json.loads(json.dumps(dataclasses.asdict(made))))


def _publish(passport: Passport, candidate: Path, out: Path, gate: Mapping[str, object]) -> Passport:
    """Move engine and passport to their place, each in one step; between the two, the engine is refused."""
    final = dataclasses.replace(passport, gate=gate)
    final.write(passport_path(candidate))
    os.replace(candidate, out)
    os.replace(passport_path(candidate), passport_path(out))
    sign(passport_path(out))
    return final


def _verdict(order: BuildRequest, judgement: EvaluationResult) -> str:
    what = "; ".join(judgement.failures)
    return f"`{order.out.name}` misses its budget, nothing was written: {what} (--no-gate builds it all the same)"


@contextmanager
def _lock(key: str, wait: bool, say: Reporter) -> Iterator[None]:
    """One build of the same engine at a time, on this machine. The lock goes with the process that holds it."""
    import fcntl

    place = cache_dir() / "locks" / f"{key[:32]}.lock"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        file = open(place, "w")  # noqa: SIM115
    except OSError as error:
        raise SinkError(f"cannot write the lock `{place}`: {error.strerror or error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise ConfigError(
                    "another process builds this engine already; leave --no-wait out to wait for it"
                ) from None
            say.note(_LOCKED_NOTE)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
