"""Passports: what an engine was made of, on and for, beside it as ``NAME.passport.json``; checked before it is loaded.

An engine is bound to the machine it was built on, and a TensorRT engine's file holds executable code: one whose bytes
are not those of its passport, or whose machine is another, is refused with the field, both values and the command
that builds it again. A passport proves that an engine is whole, not who built it: for that, ``spec.signature``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeface.common import machine
from edgeface.common.files import atomic_path, sha256_file
from edgeface.common.install import upgrade
from edgeface.common.json_text import json_object
from edgeface.common.toml_file import from_table
from edgeface.errors import ArtifactError
from edgeface.spec.metadata import passport_path
from edgeface.spec.signature import check_signature, sign

SCHEMA_VERSION = 1
"""Raised whenever an older edgeface would misread a newer passport."""


@dataclass(frozen=True)
class Passport:
    """Everything about an engine.

    ``key`` is the hash of all that went in, ``engine_sha256`` of what came out. ``source`` names the float model,
    ``calibration`` the set, each with its hash. ``machine`` is what the engine is bound to (``cpu_identity``, or
    ``runtime.trt.identity``), ``measured_on`` the whole machine. ``precision`` is the graph's (its spec's, with flavour
    and layers kept in float), ``layers`` counts the engine's layers by type and precision. ``gate`` holds the verdict
    ("passed" or "not judged"), why, and the parity and latency figures. ``metadata`` are the ONNX file's, the model's
    spec among them, and ``command`` builds the engine again.
    """

    key: str
    engine_sha256: str
    target: str
    source: Mapping[str, str]
    recipe: Mapping[str, Any]
    machine: Mapping[str, str]
    command: str
    calibration: Mapping[str, str] | None = None
    precision: Mapping[str, Any] = field(default_factory=dict)
    layers: Mapping[str, Any] = field(default_factory=dict)
    gate: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    measured_on: Mapping[str, Any] = field(default_factory=dict)
    timing_cache_sha256: str | None = None
    edgeface: str = ""
    schema_version: int = SCHEMA_VERSION

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the JSON file, whole or not at all, and sign it where there is a key. Raises ``SinkError``."""
        with atomic_path(path) as temporary:
            text = json.dumps(dataclasses.asdict(self), ensure_ascii=False, allow_nan=False, indent=2)
            temporary.write_text(text + "\n", encoding="utf-8")
        sign(path)

    @property
    def rebuild(self) -> str:
        """``command`` where it is one of ``edgeface build-engine``; a passport that others wrote could name any."""
        plain = re.fullmatch(r"edgeface build-engine [\w ./=:,@+'~-]*", self.command) and self.command.isprintable()
        return self.command if plain else "edgeface build-engine"


def load_passport(engine: str | os.PathLike[str]) -> Passport | None:
    """The passport beside ``engine``; ``None`` where there is none. Raises ``ArtifactError`` for a malformed one."""
    where = passport_path(engine)
    try:
        text = Path(where).read_bytes()
        raw = json_object(text)
        version = raw["schema_version"]
        if type(version) is not int or version < 1:
            raise ValueError("it is not a whole number from 1")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArtifactError(f"cannot read passport `{where}`: {error.strerror or error}") from error
    except (ValueError, KeyError) as error:
        raise ArtifactError(
            f"`{where}` is no passport: expected a JSON object with a schema_version ({error})"
        ) from error
    check_signature(where, text)
    if version > SCHEMA_VERSION:
        raise ArtifactError(
            f"passport `{where}` has schema {version}, this edgeface reads up to {SCHEMA_VERSION}; {upgrade()}"
        )
    try:
        return from_table(Passport, raw, "the passport", ArtifactError, ignore_unknown=True)
    except ArtifactError as error:
        raise ArtifactError(
            f"passport `{where}` is incomplete or malformed ({error}); build the engine again"
        ) from None


def check_bytes(engine: str | os.PathLike[str]) -> Passport:
    """The engine's passport, if it has one and its bytes are that passport's. Raises ``ArtifactError``."""
    passport = load_passport(engine)
    if passport is None:
        raise ArtifactError(
            f"no passport at `{passport_path(engine)}`, so nothing vouches for the engine `{engine}`; "
            "build it with: edgeface build-engine"
        )
    try:
        found = sha256_file(engine)
    except OSError as error:
        raise ArtifactError(f"cannot read engine `{engine}`: {error.strerror or error}") from error
    if found != passport.engine_sha256:
        raise ArtifactError(
            f"engine `{engine}` is not the one of its passport: sha256 expected {passport.engine_sha256[:16]}…, "
            f"found {found[:16]}…; build it again: {passport.rebuild}"
        )
    return passport


def check_passport(engine: str | os.PathLike[str], here: Mapping[str, str] | None = None) -> Passport:
    """The passport of an engine that may be loaded on the machine ``here`` (``None``: this one's processor).

    Raises ``ArtifactError`` as ``check_bytes`` does, and where the machine differs from the one it is bound to.
    """
    passport = check_bytes(engine)
    for name, built, now in differences(passport, cpu_identity() if here is None else here):
        raise ArtifactError(
            f"engine `{engine}` was built for another machine: {name} is {built} in its passport, {now} here; "
            f"build it again: {passport.rebuild}"
        )
    return passport


def differences(passport: Passport, here: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Field, value in the passport and value here, of whatever binds the engine and is not so here."""
    return [
        (name, built, here.get(name, "none"))
        for name, built in passport.machine.items()
        if not _fits(name, built, here.get(name, "none"), passport)
    ]


def cpu_identity() -> dict[str, str]:
    """What a CPU engine is bound to; its quantised graph is right on every processor of the architecture."""
    return {"architecture": machine.cpu()["architecture"]}


def _fits(name: str, built: str, here: str, passport: Passport) -> bool:
    """Equal, or covered by what the engine was built to be compatible with."""
    level = passport.recipe.get("hardware_compatible", "none")
    if name == "gpu":
        return built == here or level != "none"
    if name == "compute_capability" and level == "ampere_plus":
        return _numbers(here) >= (8, 0)
    if name == "tensorrt" and passport.recipe.get("version_compatible"):
        return _numbers(here) >= _numbers(built)
    return built == here


def _numbers(version: str) -> tuple[int, ...]:
    """``10.13.3.9`` as numbers to compare; what is no number counts as 0."""
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("."))
