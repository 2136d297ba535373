"""TOML files are read, or refused with a sentence that says which file and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgeface.common.toml_file import check_ranges, from_table, in_range, read_toml, unknown_key
from edgeface.errors import ConfigError, DataError


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


@dataclass(frozen=True)
class Lamp:
    colour: str
    watts: float = in_range(5.0, 0, 60)


@dataclass(frozen=True)
class Room:
    name: str
    lamps: tuple[Lamp, ...] = ()
    floors: tuple[int, ...] = (0,)
    plan: Path | None = None
    beds: int | None = in_range(None, 1)
    quiet: bool = False

    def __post_init__(self) -> None:
        check_ranges(self)


def test_a_table_becomes_a_dataclass() -> None:
    table = {"name": "hall", "lamps": [{"colour": "red", "watts": 7}], "floors": [1, 2], "plan": "hall.svg", "beds": 2}
    room = from_table(Room, table, "room `x`")
    assert room == Room("hall", (Lamp("red", 7.0),), (1, 2), Path("hall.svg"), 2)
    assert isinstance(room.lamps[0].watts, float)
    assert from_table(Room, {"name": "hall"}, "room `x`") == Room("hall")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"quite": True}, "no key `quite`, the nearest is `quiet`"),
        ({"name": 1}, "`name`: expected str, found 1"),
        ({"quiet": 1}, "`quiet`: expected bool, found 1"),
        ({"beds": True}, "`beds`: expected int, found True"),
        ({"beds": 0}, "`beds`: expected 1 or more, found 0"),
        ({"plan": 3}, "`plan`: expected str, found 3"),
        ({"floors": 1}, "`floors`: expected a list, found 1"),
        ({"floors": [1, 2.5]}, "`floors`: expected int, found 2.5"),
        ({"lamps": [{"colour": "red"}, 3]}, "`lamps`, entry 2: expected a table, found 3"),
        ({"lamps": [{"watts": 3.0}]}, "`lamps`, entry 1: the key `colour` is missing"),
    ],
)
def test_what_does_not_fit_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError) as refused:
        from_table(Room, {"name": "hall", **changes}, "room `x`", DataError)
    assert str(refused.value) == f"room `x`: {sentence}"


@pytest.mark.parametrize("watts", [-1.0, 60.5, float("nan"), float("inf")])
def test_a_number_out_of_range(watts: float) -> None:
    with pytest.raises(ConfigError, match="^`watts`: expected 0 to 60, found"):
        check_ranges(Lamp("red", watts))
