"""``edgeface calibration``: the file it writes, the tables, the promised JSON, and refusals with exit code 1."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgeface.calibration import read_set
from edgeface.common.install import install_extra
from tests.calibration.networks import write_conv_model
from tests.calibration.people import add_crowd, add_person
from tests.cli.conftest import Cli, Result
from tests.cli.test_startup import HEAVY, help_of, loaded_by

pytestmark = pytest.mark.usefixtures("patterns_as_faces")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFACE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    return add_crowd(tmp_path / "crowd")


@pytest.fixture
def made(crowd: Path, tmp_path: Path, cli: Cli) -> Path:
    """A set of twelve of the crowd."""
    out = tmp_path / "sets" / "twelve.toml"
    assert make(cli, crowd, out).code == 0
    return out


def make(cli: Cli, crowd: Path, out: Path, *more: object) -> Result:
    return cli("calibration", "make", "--data", crowd, "--size", 12, "-o", out, "--no-curve", *more)


def test_make_writes_a_set_that_check_accepts(crowd: Path, made: Path, cli: Cli) -> None:
    drawn = read_set(made)
    assert (drawn.name, drawn.size, len(drawn.files), drawn.seed) == ("twelve", 12, 12, 1)
    assert "UTKFace" in drawn.source
    assert "non-commercial research only" in drawn.licence
    result = cli("calibration", "check", made, "--data", crowd, "--no-curve")
    assert result.code == 0
    assert f"twelve: 12 images, digest {drawn.digest[:12]}, none of them held out" in result.out
    assert "(15 held-out images compared)" in result.out


def test_the_table_shows_every_stratum(crowd: Path, made: Path, cli: Cli) -> None:
    lines = cli("calibration", "check", made, "--data", crowd, "--no-curve").out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines if line[2:3].isdigit()}
    assert rows["3-9"] == ["0*", "0*", "0*", "1*", "0*", "0*", "0*", "2*", "0*", "0*", "3"]
    assert sum(int(row[-1]) for row in rows.values()) == 12


def test_the_same_seed_makes_the_same_file(crowd: Path, made: Path, tmp_path: Path, cli: Cli) -> None:
    again = tmp_path / "again" / "twelve.toml"
    make(cli, crowd, again)
    assert again.read_bytes() == made.read_bytes()
    make(cli, crowd, again, "--seed", 2)
    assert read_set(again).digest != read_set(made).digest


def test_json(crowd: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "set.toml"
    facts = make(cli, crowd, out, "--json").json()
    assert facts["digest"] == read_set(out).digest
    assert (facts["name"], facts["size"], facts["held_out_pictures_compared"]) == ("set", 12, 15)
    assert facts["strata"]["male Indian 3-9"] == {"files": 1, "available": 1}
    assert facts["range_errors"] == []
    assert cli("calibration", "check", out, "--data", crowd, "--no-curve", "--json").json() == facts


def test_the_curve(crowd: Path, made: Path, tmp_path: Path, cli: Cli, tiny_detector: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra `train`)")
    model, plot = write_conv_model(tmp_path / "conv.onnx"), tmp_path / "curve.png"
    options = ("--model", model, "--detector", tiny_detector, "--method", "minmax", "--plot", plot)
    result = cli("calibration", "check", made, "--data", crowd, *options, "--json")
    assert [error["size"] for error in result.json()["range_errors"]] == [8, 12]
    assert plot.stat().st_size > 1000
    text = cli("calibration", "check", made, "--data", crowd, *options).out
    assert "range errors by number of images" in text


def test_the_curve_of_a_shipped_network(crowd: Path, made: Path, cli: Cli, tiny_detector: Path) -> None:
    options = ("--detector", tiny_detector, "--method", "minmax", "--json")
    default, fairface = (
        cli("calibration", "check", made, "--data", crowd, *options, *named) for named in ((), ("--model", "fairface"))
    )
    assert fairface.code == 0, fairface.err
    sizes = [[error["size"] for error in result.json()["range_errors"]] for result in (default, fairface)]
    assert sizes == [[8, 12], [8, 12]]
    assert fairface.json()["range_errors"] != default.json()["range_errors"]


def test_the_environment_chooses_no_run_time_of_a_curve(
    crowd: Path, made: Path, tmp_path: Path, cli: Cli, tiny_detector: Path, absent_runtime: None
) -> None:
    model = write_conv_model(tmp_path / "conv.onnx")
    options = ("--model", model, "--detector", tiny_detector, "--method", "minmax")
    result = cli("calibration", "check", made, "--data", crowd, *options)
    assert result.code == 0, result.err
    assert "range errors by number of images" in result.out


def test_an_unknown_method(crowd: Path, made: Path, tmp_path: Path, cli: Cli, tiny_detector: Path) -> None:
    model = write_conv_model(tmp_path / "conv.onnx")
    options = ("--model", model, "--detector", tiny_detector, "--method", "max")
    result = cli("calibration", "check", made, "--data", crowd, *options)
    assert result.code == 1
    assert "error: no calibration method `max`: expected one of minmax, entropy, percentile" in result.err


def test_without_onnx_there_is_no_curve(
    crowd: Path, made: Path, tmp_path: Path, cli: Cli, tiny_detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_conv_model(tmp_path / "conv.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    options = ("--data", crowd, "--model", model, "--detector", tiny_detector)
    sentence = f"needs `onnx`, which is not installed: {install_extra('quantize', 'onnx')}"
    result = cli("calibration", "check", made, *options)
    assert result.code == 0
    assert result.err.startswith("no curve: ")
    assert sentence in result.err
    result = cli("calibration", "check", made, *options, "--plot", tmp_path / "curve.png")
    assert result.code == 1
    assert sentence in result.err


def test_a_held_out_file_fails_the_check(crowd: Path, made: Path, cli: Cli) -> None:
    name = add_person(crowd, (25, 0, 0), 1, 9)
    entry = f'  {{ name = "{name}", sha256 = "{"0" * 64}", stratum = "male White 20-29" }},\n]'
    made.write_text(made.read_text().replace("]\n", entry, 2).replace(entry, "]\n", 1))
    result = cli("calibration", "check", made, "--data", crowd, "--no-curve")
    assert result.code == 1
    assert result.err.splitlines()[-1] == (
        f"error: calibration set `twelve`: `{name}` is of fold 1, which is held out for judging; remove it"
    )
    assert result.out == ""


def test_nothing_is_written_when_the_draw_fails(crowd: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "sets" / "set.toml"
    for wrong, sentence in (
        (("--folds", "all"), "fold 0-2 is held out for judging"),
        (("--size", 99), "expected 99 images, the data have 33 usable images in its folds"),
        (("--folds", "9"), "the data have 0 usable images"),
        (("--folds", "x"), "folds `x`: expected 0 to 9"),
    ):
        result = make(cli, crowd, out, *wrong)
        assert (result.code, sentence in result.err) == (1, True), result.err
    assert not out.exists()


def test_a_note_where_no_held_out_picture_is_there(crowd: Path, made: Path, cli: Cli) -> None:
    from edgeface.evaluation.datasets import find_faces, in_folds

    for part in find_faces([crowd]):
        for face in in_folds(part.faces, (0, 1, 2)):
            (crowd / face.name).unlink()
    result = cli("calibration", "check", made, "--data", crowd, "--no-curve")
    assert result.code == 0
    assert "the data have no held-out image: overlap was judged by names only" in result.err


@pytest.mark.parametrize("verb", ["make", "check"])
def test_help_is_light(verb: str) -> None:
    assert loaded_by(help_of("calibration", verb)).isdisjoint({*HEAVY, "numpy", "rich"})


def test_the_group_alone_shows_its_verbs(cli: Cli) -> None:
    result = cli("calibration")
    assert result.code == 2
    assert "make" in result.out + result.err
    assert "check" in result.out + result.err
