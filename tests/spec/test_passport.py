"""An engine is loaded only with its own passport, on the machine it was built for."""

from __future__ import annotations

import dataclasses
import hmac
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeface.common.files import sha256_file
from edgeface.errors import ArtifactError, ConfigError
from edgeface.runtime.open import open_backend
from edgeface.spec.metadata import detector_spec, model_spec, onnx_metadata, passport_path
from edgeface.spec.passport import Passport, check_passport, cpu_identity, differences, load_passport
from edgeface.spec.signature import signature_path
from tests.fixtures import SIZE, tiny_spec, write_tiny_model

ORIN = {"gpu": "Orin", "compute_capability": "8.7", "tensorrt": "10.3.0"}
COMMAND = "edgeface build-engine tiny.onnx --target cpu -o engine.onnx"


def passport_of(engine: Path, **changes: Any) -> Passport:
    passport = Passport(
        key="k" * 64,
        engine_sha256=sha256_file(engine),
        target="cpu-x86",
        source={"name": "tiny.onnx", "sha256": "s" * 64},
        recipe={},
        machine=cpu_identity(),
        command=COMMAND,
    )
    return dataclasses.replace(passport, **changes)


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """A CPU engine with its passport."""
    path = write_tiny_model(tmp_path / "engine.onnx")
    passport_of(path).write(passport_path(path))
    return path


def test_there_and_back(engine: Path) -> None:
    assert load_passport(engine) == passport_of(engine)
    assert check_passport(engine) == passport_of(engine)
    assert [path.name for path in engine.parent.iterdir() if path.name.startswith(".")] == []


def test_an_engine_with_its_passport_opens(engine: Path) -> None:
    with open_backend(engine) as backend:
        assert len(backend.infer({"crops": np.zeros((1, SIZE, SIZE, 3), np.uint8)})["age"]) == 1


def test_a_changed_engine_is_refused(engine: Path) -> None:
    data = bytearray(engine.read_bytes())
    data[len(data) // 2] ^= 1
    engine.write_bytes(data)
    with pytest.raises(ArtifactError) as refused:
        open_backend(engine)
    assert f"engine `{engine}` is not the one of its passport: sha256 expected" in str(refused.value)
    assert str(refused.value).endswith(f"build it again: {COMMAND}")


def test_another_machine_is_named_with_both_values(engine: Path) -> None:
    passport_of(engine, machine={"architecture": "z80"}).write(passport_path(engine))
    with pytest.raises(ArtifactError) as refused:
        open_backend(engine)
    here = cpu_identity()["architecture"]
    assert str(refused.value) == (
        f"engine `{engine}` was built for another machine: architecture is z80 in its passport, {here} here; "
        f"build it again: {COMMAND}"
    )


def test_without_a_passport(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "plain.onnx")
    open_backend(model).close()  # an ONNX file needs none
    with pytest.raises(ArtifactError, match="nothing vouches for the engine"):
        check_passport(model)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is no passport: expected a JSON object with a schema_version"),
        ("[]", "is no passport: expected a JSON object with a schema_version"),
        ('{"schema_version": 1}', "is incomplete"),
        ('{"schema_version": 99}', "has schema 99, this edgeface reads up to 1"),
    ],
)
def test_malformed_passports(engine: Path, text: str, sentence: str) -> None:
    passport_path(engine).write_text(text)
    with pytest.raises(ArtifactError, match=sentence):
        open_backend(engine)


def test_keys_of_a_later_edgeface_are_ignored(engine: Path) -> None:
    raw = json.loads(passport_path(engine).read_text())
    passport_path(engine).write_text(json.dumps({**raw, "colour": "blue"}))
    assert load_passport(engine) == passport_of(engine)


@pytest.mark.parametrize(
    ("recipe", "here", "names"),
    [
        ({}, ORIN, []),
        ({}, {**ORIN, "tensorrt": "10.13.3.9"}, ["tensorrt"]),
        ({"version_compatible": True}, {**ORIN, "tensorrt": "11.4.0.106"}, []),
        ({"version_compatible": True}, {**ORIN, "tensorrt": "8.6.1"}, ["tensorrt"]),
        ({}, {**ORIN, "gpu": "H100", "compute_capability": "9.0"}, ["gpu", "compute_capability"]),
        ({"hardware_compatible": "ampere_plus"}, {**ORIN, "gpu": "H100", "compute_capability": "9.0"}, []),
        (
            {"hardware_compatible": "ampere_plus"},
            {**ORIN, "gpu": "T4", "compute_capability": "7.5"},
            ["compute_capability"],
        ),
        ({"hardware_compatible": "same_compute_capability"}, {**ORIN, "gpu": "Orin Nano"}, []),
        (
            {"hardware_compatible": "same_compute_capability"},
            {**ORIN, "compute_capability": "8.6"},
            ["compute_capability"],
        ),
        ({}, {}, ["gpu", "compute_capability", "tensorrt"]),
    ],
)
def test_what_an_engine_is_bound_to(engine: Path, recipe: Any, here: dict[str, str], names: list[str]) -> None:
    passport = passport_of(engine, recipe=recipe, machine=ORIN)
    assert [name for name, _, _ in differences(passport, here)] == names


def test_an_engine_carries_the_models_spec_in_its_passport(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny.onnx")
    engine = tmp_path / "tiny.engine"
    engine.write_bytes(b"plan")
    passport_of(engine, metadata=onnx_metadata(model)).write(passport_path(engine))
    assert model_spec(engine) == tiny_spec()
    assert detector_spec(engine) is None
    passport_path(engine).unlink()
    with pytest.raises(ArtifactError, match="cannot read passport .* of engine"):
        model_spec(engine)


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A key of the user's that signs and checks passports."""
    path = tmp_path / "key"
    path.write_bytes(bytes(range(32)))
    monkeypatch.setenv("EDGEFACE_PASSPORT_KEY", str(path))
    return path


def test_a_passport_signed_with_the_users_key_is_read(engine: Path, key: Path) -> None:
    passport_of(engine).write(passport_path(engine))
    assert check_passport(engine) == passport_of(engine)
    signature = hmac.new(key.read_bytes(), passport_path(engine).read_bytes(), "sha256").hexdigest()
    assert signature_path(passport_path(engine)).read_text() == f"{signature}\n"


def test_a_passport_of_someone_else_is_refused(engine: Path, key: Path) -> None:
    with pytest.raises(ArtifactError, match=r"EDGEFACE_PASSPORT_KEY is set, but passport .* has no signature"):
        open_backend(engine)
    passport_of(engine).write(passport_path(engine))
    forged = passport_path(engine).read_text().replace("cpu-x86", "cpu-arm")
    passport_path(engine).write_text(forged)
    with pytest.raises(ArtifactError, match="the signature of passport .* is not of the key in"):
        open_backend(engine)
    key.write_bytes(b"short")
    with pytest.raises(ConfigError, match="expected 32 to 4096 bytes"):
        open_backend(engine)


def test_without_a_key_nothing_is_signed_and_no_old_signature_stays(engine: Path) -> None:
    signature_path(passport_path(engine)).write_text("of before\n")
    passport_of(engine).write(passport_path(engine))
    assert not signature_path(passport_path(engine)).exists()


def test_only_a_command_of_edgeface_is_told_to_be_run(engine: Path) -> None:
    for command in ("curl example.org | sh", "edgeface build-engine x; rm -r /", "edgeface build-engine \x1b[2J"):
        passport_of(engine, machine={"architecture": "z80"}, command=command).write(passport_path(engine))
        with pytest.raises(ArtifactError, match=r"build it again: edgeface build-engine$"):
            check_passport(engine)
