"""Engine recipes (``engines/*.toml``): what ``edgeface build-engine`` makes for which machine, in a few keys."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from edgeface.common.toml_file import check_ranges, from_table, in_range, read_toml
from edgeface.errors import ConfigError

TARGETS = ("cpu", "cpu-x86", "cpu-arm", "tensorrt")
"""``cpu`` is the one of cpu-x86 and cpu-arm that the machine at hand is."""
PRECISIONS = ("fp32", "fp16", "int8")
METHODS = ("minmax", "entropy", "percentile")
HARDWARE = ("none", "ampere_plus", "same_compute_capability")
"""How far beyond the GPU it was built on a TensorRT engine may run; the wider, the slower."""
_LARGEST_BATCH = 4096
_SMALLEST_WORKSPACE_MB = 16
_DLA_CORES = 2  # no Jetson has more
_TENSORRT_ONLY = ("workspace_mb", "dla", "compute_capability", "version_compatible", "hardware_compatible")


@dataclass(frozen=True)
class Recipe:
    """What to build.

    ``target`` is one of ``TARGETS``, ``precision`` one of ``PRECISIONS``. ``max_batch`` is the largest batch in crops
    (or images). ``calibration`` is the calibration set for int8, ``method`` how its activations become ranges.
    For TensorRT: ``workspace_mb`` is the scratch memory its tactics may take, ``dla`` a DLA core (``None``: the GPU),
    ``compute_capability`` the GPU generation the recipe is for ("8.7" is Orin; empty: any), ``version_compatible``
    lets later TensorRT releases load the engine, ``hardware_compatible`` (one of ``HARDWARE``) other GPUs.

    Raises ``ConfigError`` for values out of range or that do not go together.
    """

    target: str = "cpu"
    precision: str = "int8"
    max_batch: int = in_range(32, 1, _LARGEST_BATCH)
    calibration: Path | None = None
    method: str = "percentile"
    workspace_mb: int = in_range(1024, _SMALLEST_WORKSPACE_MB)
    dla: int | None = in_range(None, 0, _DLA_CORES - 1)
    compute_capability: str = ""
    version_compatible: bool = False
    hardware_compatible: str = "none"

    def __post_init__(self) -> None:
        self._check_values()
        self._check_together()

    @property
    def on_cpu(self) -> bool:
        return self.target != "tensorrt"

    @property
    def digest(self) -> str:
        """Hex sha256 over every value that decides the engine; the calibration set counts by its own digest."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """For JSON; without the set's path, which means nothing on another machine."""
        return {name: value for name, value in asdict(self).items() if name != "calibration"}

    def _check_values(self) -> None:
        for name, known in (
            ("target", TARGETS),
            ("precision", PRECISIONS),
            ("method", METHODS),
            ("hardware_compatible", HARDWARE),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(f"`{name}`: expected one of {', '.join(known)}, found `{getattr(self, name)}`")
        check_ranges(self)
        if not re.fullmatch(r"(\d+\.\d)?", self.compute_capability):
            raise ConfigError(f"`compute_capability`: expected one such as 8.7, found `{self.compute_capability}`")

    def _check_together(self) -> None:
        if self.on_cpu:
            changed = [item.name for item in fields(self) if getattr(self, item.name) != item.default]
            stray = next((name for name in changed if name in _TENSORRT_ONLY), None)
            if stray:
                raise ConfigError(f"`{stray}`: means something for the target `tensorrt` only, found `{self.target}`")
        if self.dla is not None and self.precision != "fp16":
            raise ConfigError(f"`dla`: a DLA core takes fp16 graphs, not Q/DQ; found the precision `{self.precision}`")


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """The recipe in a TOML file; its ``calibration`` is relative to the file. Raises ``ConfigError``."""
    recipe = from_table(Recipe, read_toml(path, "recipe"), f"recipe `{path}`")
    return recipe if recipe.calibration is None else replace(recipe, calibration=Path(path).parent / recipe.calibration)
