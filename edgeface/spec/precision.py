"""Which kind of 8-bit graph a machine runs fast and right, and which machine must not run which kind.

ONNX Runtime's x86 kernels without VNNI multiply 8-bit pairs with ``vpmaddubsw``, whose 16-bit sums saturate. Signed
activations are shifted to unsigned ones first, so an s8s8 graph overflows all the time there: with the same file, ages
were 1.2 years worse. Unsigned activations against weights of seven bits (255 * 64 * 2 < 2**15) cannot overflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeface.common import machine
from edgeface.common.json_text import json_object
from edgeface.errors import ConfigError
from edgeface.spec.model import DETECTOR_KEY, MODEL_KEY, DetectorSpec, ModelSpec, PrecisionSpec

TARGETS = ("tensorrt", "cpu-x86", "cpu-arm")
_AUTO = ("auto", "cpu")
_X86 = ("x86_64", "AMD64", "i686", "x86")
_ARM = ("aarch64", "arm64", "armv7l", "armv8l")
_VNNI = ("avx512_vnni", "avx_vnni", "amx_int8")


@dataclass(frozen=True)
class QuantScheme:
    """How numbers become 8-bit integers, and by whose rules Q/DQ pairs are placed.

    ``activation`` is "int8" or "uint8"; ``symmetric`` activations have zero-point 0. Weights are always int8, per
    output channel, symmetric, and no larger than ``weight_max``. ``fused_by`` is "tensorrt" or "onnxruntime".
    """

    name: str
    activation: str
    symmetric: bool
    weight_max: int
    fused_by: str


_SCHEMES = {
    "tensorrt": QuantScheme("s8s8", "int8", True, 127, "tensorrt"),
    # Seven bits on every x86, so that a file made on one machine is right on another; with VNNI it is as fast.
    "cpu-x86": QuantScheme("u8s8", "uint8", False, 64, "onnxruntime"),
    # ONNX Runtime melts a Relu into an s8 quantisation only where its zero-point is -128.
    "cpu-arm": QuantScheme("s8s8", "int8", False, 127, "onnxruntime"),
}


def resolve_target(target: str = "auto") -> str:
    """One of ``TARGETS``; "auto" and "cpu" look at this machine's processor. Raises ``ConfigError``."""
    if target in TARGETS:
        return target
    if target not in _AUTO:
        raise ConfigError(f"no target `{target}`: expected one of auto, cpu, {', '.join(TARGETS)}")
    own = _own_target()
    if own is None:
        architecture = machine.cpu()["architecture"]
        raise ConfigError(
            f"the processor `{architecture}` is neither x86 nor ARM: name --target {' or '.join(TARGETS)}"
        )
    return own


def _own_target() -> str | None:
    """The target that is this machine's processor; ``None`` where it is neither x86 nor ARM."""
    architecture = machine.cpu()["architecture"]
    if architecture in _X86:
        return "cpu-x86"
    return "cpu-arm" if architecture in _ARM else None


def quant_scheme_of(target: str) -> QuantScheme:
    """The 8-bit flavour of one of ``TARGETS``."""
    return _SCHEMES[target]


def needs_simulation(spec: ModelSpec | DetectorSpec | PrecisionSpec | None) -> bool:
    """Whether this machine's fused integer kernels would get the model wrong, so that only floats may stand in.

    True for signed activations on an x86 processor without VNNI.
    """
    precision = spec.precision if isinstance(spec, ModelSpec | DetectorSpec) else spec
    if precision is None or precision.flavour != "s8s8":
        return False
    facts = machine.cpu()
    return facts["architecture"] in _X86 and not any(feature in _VNNI for feature in facts["features"])


def made_for_another(path: Path, spec: ModelSpec | DetectorSpec | None) -> bool:
    """Whether an ONNX file was written for another kind of machine, so that its speed here says nothing.

    True for a TensorRT graph on any processor, and for one processor's graph on another.
    """
    precision = spec.precision if spec is not None else None
    return path.suffix == ".onnx" and precision is not None and precision.target != _own_target()


def precision_in(metadata: Mapping[str, str]) -> PrecisionSpec | None:
    """The ``PrecisionSpec`` among an ONNX file's metadata; ``None`` in a float model and in files of others."""
    for key, kind in ((MODEL_KEY, ModelSpec), (DETECTOR_KEY, DetectorSpec)):
        if key in metadata and '"precision"' in metadata[key]:
            try:
                raw = json_object(metadata[key]).get("precision")
            except ValueError:
                return None  # anyone who needs the spec will say what is wrong with it
            return kind.from_json(metadata[key]).precision if raw else None
    return None
