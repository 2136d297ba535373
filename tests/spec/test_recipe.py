"""Recipes say what an engine is to be; what they say wrong is named with the nearest right thing."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.errors import ConfigError
from edgeface.spec.recipe import PRECISIONS, TARGETS, Recipe, read_recipe
from tests.conftest import ROOT

SHIPPED = sorted((ROOT / "engines").glob("*.toml"))


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    keys = re.findall(r"^(\w+) = ", text, re.MULTILINE)
    assert 5 <= len(keys) <= 6
    command = re.search(r"^#\s+(edgeface build-engine .+)$", text, re.MULTILINE)
    assert command is not None and f"--recipe engines/{path.name}" in command[1]
    recipe = read_recipe(path)
    assert (recipe.calibration is None) == (recipe.precision != "int8")
    if recipe.calibration is not None:
        assert recipe.calibration.resolve() == ROOT / "calibration" / "utkface-512.toml"


def test_there_is_a_recipe_for_every_system() -> None:
    names = {path.stem for path in SHIPPED}
    assert names == {"cpu-int8", "orin-nano", "orin-nx", "agx-orin", "orin-dla", "x86-dgpu", "hopper"}


def test_the_calibration_lies_relative_to_the_recipe(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, 'calibration = "sets/mine.toml"\n'))
    assert recipe.calibration == tmp_path / "sets" / "mine.toml"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("max_bach = 4", "no key `max_bach`, the nearest is `max_batch`"),
        ("max_batch = true", "`max_batch`: expected int, found True"),
        ('max_batch = "8"', "`max_batch`: expected int, found '8'"),
        ("max_batch = 0", "`max_batch`: expected 1 to 4096, found 0"),
        ('precision = "int4"', "`precision`: expected one of fp32, fp16, int8, found `int4`"),
        ('target = "tpu"', "`target`: expected one of cpu, cpu-x86, cpu-arm, tensorrt, found `tpu`"),
        ("workspace_mb = 512", "`workspace_mb`: means something for the target `tensorrt` only, found `cpu`"),
        (
            'target = "tensorrt"\ncompute_capability = "Orin"',
            "`compute_capability`: expected one such as 8.7, found `Orin`",
        ),
        ('target = "tensorrt"\ndla = 0', "`dla`: a DLA core takes fp16 graphs, not Q/DQ; found the precision `int8`"),
        ('target = "tensorrt"\nprecision = "fp16"\ndla = 2', "`dla`: expected 0 to 1, found 2"),
    ],
)
def test_bad_recipes_are_refused_in_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as refused:
        read_recipe(path)
    assert str(refused.value) == f"recipe `{path}`: {sentence}"


def test_the_digest_follows_every_value_but_the_place_of_the_set() -> None:
    plain = Recipe()
    assert plain.digest == Recipe(calibration=Path("anywhere.toml")).digest
    changes: list[dict[str, Any]] = [
        {"target": "cpu-arm"},
        {"precision": "fp16"},
        {"max_batch": 8},
        {"method": "entropy"},
    ]
    digests = {dataclasses.replace(plain, **change).digest for change in changes}
    assert len(digests | {plain.digest}) == len(changes) + 1


@given(st.sampled_from(TARGETS), st.sampled_from(PRECISIONS), st.integers(1, 4096), st.integers(16, 1 << 20))
def test_what_is_in_range_is_taken(target: str, precision: str, batch: int, workspace: int) -> None:
    extra = {"workspace_mb": workspace} if target == "tensorrt" else {}
    recipe = Recipe(target=target, precision=precision, max_batch=batch, **extra)
    assert recipe.on_cpu == (target != "tensorrt")
    assert recipe.to_dict()["max_batch"] == batch
