"""TOML files are read, or refused with a sentence that says which file and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeface.common.toml_file import read_toml, unknown_key
from edgeface.errors import ConfigError


def test_a_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text('age_mae = 0.05\nname = "größer"\n[worst]\ngroups = ["a", "b"]\n', encoding="utf-8")
    assert read_toml(path, "gate") == {"age_mae": 0.05, "name": "größer", "worst": {"groups": ["a", "b"]}}


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_toml(tmp_path / "none.toml", "gate")
    assert str(caught.value) == f"no gate at `{tmp_path / 'none.toml'}`: no such file"


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="^recipe `.*` is a directory, expected a TOML file$"):
        read_toml(tmp_path, "recipe")


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"a = ", "Invalid value"), (b"a = 1\na = 2", "Cannot overwrite a value"), (b"\xff\xfe", "no text in UTF-8")],
)
def test_what_is_no_toml(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "set.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^calibration set `{path}` is not valid TOML: .*{why}"):
        read_toml(path, "calibration set")


def test_the_nearest_key_is_named() -> None:
    assert unknown_key("max_bach", ["max_batch", "precision"]) == "no key `max_bach`, the nearest is `max_batch`"
    assert unknown_key("xyz", []) == "no key `xyz`"
