from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeface.doctor.model_info import model_info
from edgeface.errors import BackendError, ConfigError
from edgeface.quantization.quantize import quantize
from edgeface.quantization.ranges import Ranges
from edgeface.runtime.open import open_backend
from edgeface.spec.model import MODEL_KEY, DetectorSpec, PrecisionSpec
from edgeface.spec.precision import made_for_another, needs_simulation, precision_in, quant_scheme_of, resolve_target
from tests.fixtures import tiny_spec, write_tiny_model

Processor = Callable[..., None]
S8S8 = PrecisionSpec("int8", "s8s8", "tensorrt")


def test_auto_looks_at_the_processor(processor: Processor) -> None:
    for architecture, target in [("x86_64", "cpu-x86"), ("AMD64", "cpu-x86"), ("aarch64", "cpu-arm")]:
        processor(architecture)
        assert resolve_target("auto") == resolve_target("cpu") == target
        assert resolve_target("tensorrt") == "tensorrt"
    processor("riscv64")
    with pytest.raises(ConfigError, match="the processor `riscv64` is neither x86 nor ARM: name --target tensorrt or"):
        resolve_target()
    with pytest.raises(ConfigError, match="no target `tpu`: expected one of auto, cpu, tensorrt, cpu-x86, cpu-arm"):
        resolve_target("tpu")


def test_unsigned_products_cannot_overflow_sixteen_bits() -> None:
    """The kernels without VNNI add two products of 8-bit numbers in 16 bits."""
    x86 = quant_scheme_of("cpu-x86")
    assert x86.activation == "uint8"
    assert 2 * 255 * x86.weight_max < 2**15
    assert quant_scheme_of("tensorrt").symmetric


@pytest.mark.parametrize(
    ("architecture", "features", "expected"),
    [
        ("x86_64", ["avx2", "avx512f"], True),
        ("x86_64", ["avx2", "avx512_vnni"], False),
        ("AMD64", ["avx2", "avx_vnni"], False),
        ("aarch64", ["asimd"], False),
    ],
)
def test_which_machine_has_to_simulate(
    processor: Processor, architecture: str, features: list[str], expected: bool
) -> None:
    processor(architecture, *features)
    assert needs_simulation(S8S8) is expected
    assert needs_simulation(tiny_spec(precision=S8S8)) is expected
    assert needs_simulation(DetectorSpec("d", precision=S8S8)) is expected
    assert not needs_simulation(tiny_spec(precision=PrecisionSpec("int8", "u8s8", "cpu-x86")))
    assert not needs_simulation(tiny_spec())
    assert not needs_simulation(None)


def test_which_files_were_made_for_another_machine(processor: Processor) -> None:
    for architecture, own in [("x86_64", "cpu-x86"), ("aarch64", "cpu-arm"), ("riscv64", None)]:
        processor(architecture)
        for target in ("tensorrt", "cpu-x86", "cpu-arm"):
            spec = dataclasses.replace(tiny_spec(), precision=PrecisionSpec("int8", "s8s8", target))
            assert made_for_another(Path("m.onnx"), spec) == (target != own)
            assert not made_for_another(Path("m.engine"), spec)
    assert not made_for_another(Path("m.onnx"), tiny_spec()) and not made_for_another(Path("m.onnx"), None)


def test_the_precision_among_metadata() -> None:
    assert precision_in({}) is None
    assert precision_in({MODEL_KEY: tiny_spec().to_json()}) is None
    assert precision_in({MODEL_KEY: '"precision" no JSON'}) is None
    assert precision_in({MODEL_KEY: tiny_spec(precision=S8S8).to_json()}) == S8S8


def test_a_wrong_flavour_is_refused_with_the_reason(
    processor: Processor, attributes: Path, attribute_ranges: Ranges, tmp_path: Path
) -> None:
    path = quantize(attributes, tmp_path / "s8s8.onnx", "int8", "tensorrt", attribute_ranges)
    processor("x86_64", "avx2", "avx512f")
    with pytest.raises(BackendError) as caught:
        open_backend(path, threads=1)
    assert str(caught.value) == (
        f"`{path}` is int8 with signed activations, for the target tensorrt; this x86 processor has no VNNI, its "
        "16-bit sums would saturate (measured: ages 1.2 years worse): quantise with --target cpu-x86"
    )
    with open_backend(path, threads=1, simulate=True) as backend:
        assert backend.inputs[0].name == "crops"
    assert model_info(path)["spec"]["precision"]["flavour"] == "s8s8", "looking at it is no harm"
    processor("x86_64", "avx512_vnni")
    open_backend(path, threads=1).close()


def test_a_float_model_opens_everywhere(processor: Processor, tmp_path: Path) -> None:
    processor("x86_64")
    open_backend(write_tiny_model(tmp_path / "m.onnx"), threads=1).close()
    open_backend(write_tiny_model(tmp_path / "n.onnx", spec_json="{}"), threads=1).close()
