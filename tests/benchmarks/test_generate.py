"""``benchmarks.tables.generate``: tables go where they are asked for, what differs is named, the documents are up
to date."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.tables import generate as report
from benchmarks.tables.generate import Source, check, draw_plots, source_of, table, write
from benchmarks.tables.quality_tables import interval
from edgeface.errors import ConfigError

SOURCES = (Source("speed", __name__, plot=__name__), Source("speed_gpu", __name__))
PAGE = "# Page\n\n<!-- table: speed -->\n<!-- /table -->\n\nText.\n"


def tables(results: dict[str, Any]) -> dict[str, str]:
    """What a benchmark's module offers."""
    text = f"| network | ms |\n| --- | ---: |\n| ours | {results['ms']} |"
    return {"speed": text, "speed_notes": "Nothing."}


def of_both(results: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {"both": f"{results['speed']['ms']} ms, {results['size']['mb']} MB"}


def plot(results: dict[str, Any], path: Path) -> None:
    path.write_bytes(f"an image of {results['ms']}".encode())


@pytest.fixture
def results(tmp_path: Path) -> Path:
    save(tmp_path, ms=3)
    return tmp_path


def save(folder: Path, **values: Any) -> None:
    (folder / "speed.json").write_text(json.dumps(values), encoding="utf-8")


def page(folder: Path, text: str = PAGE) -> Path:
    path = folder / "page.md"
    path.write_text(text, encoding="utf-8")
    return path


def up_to_date(folder: Path) -> Path:
    document = page(folder)
    write([document], folder, SOURCES)
    return document


def test_documents_say_what_the_results_say() -> None:
    assert report.check(report.documents()) is None


def test_tables_are_written_between_their_markers_and_only_there(results: Path) -> None:
    document = page(results)
    assert write([document], results, SOURCES) == [document]
    written = "| network | ms |\n| --- | ---: |\n| ours | 3 |"
    assert document.read_text(encoding="utf-8") == PAGE.replace("-->\n<!--", f"-->\n\n{written}\n\n<!--")
    assert check([document], results, SOURCES) is None
    assert write([document], results, SOURCES) == []


def test_what_differs_is_named_with_its_line(results: Path) -> None:
    document = up_to_date(results)
    save(results, ms=4)
    assert check([document], results, SOURCES) == (
        "page.md: table `speed`, line 3: expected `| ours | 4 |`, found `| ours | 3 |`; "
        "write it with: python -m benchmarks.tables.generate"
    )


def test_a_missing_line_differs_too(results: Path) -> None:
    document = page(results, up_to_date(results).read_text(encoding="utf-8").replace("| ours | 3 |\n", ""))
    assert "line 3: expected `| ours | 3 |`, found `nothing`" in str(check([document], results, SOURCES))


def test_what_is_not_measured_says_so(tmp_path: Path) -> None:
    assert table("speed", tmp_path, SOURCES) == "*Not measured yet: there is no `speed.json`.*"


def test_plots_are_drawn_beside_the_results_and_linked_from_the_page(results: Path) -> None:
    (results / "docs").mkdir()
    document = page(results / "docs", "<!-- plot: speed -->\n<!-- /plot -->\n")
    write([document], results, SOURCES)
    assert "*Not drawn yet: there is no `speed.png`.*" in document.read_text(encoding="utf-8")
    draw_plots(results, SOURCES)
    assert (results / "speed.png").read_bytes() == b"an image of 3"
    assert "page.md: plot `speed`, line 1: expected `![speed](../speed.png)`" in str(check([document], results))
    write([document], results, SOURCES)
    assert check([document], results) is None


def test_the_longest_name_decides_where_a_table_comes_from() -> None:
    assert source_of("speed_gpu_notes", SOURCES).results == "speed_gpu"
    assert source_of("speed_notes", SOURCES).results == "speed"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- table: size -->\n<!-- /table -->", "no table `size`: expected a name that begins with one of speed, "),
        ("<!-- table: speed_more -->\n<!-- /table -->", "`speed` has no table `speed_more`, it has speed, "),
        ("<!-- table: speed -->\n", "page.md: table `speed` has no `<!-- /table -->`"),
        ("<!-- plot: speed -->\n<!-- /table -->", "page.md: plot `speed` has no `<!-- /plot -->`"),
        ("<!-- table: speed -->\n<!-- table: speed -->\n<!-- /table -->", "page.md: table `speed` has no `<!-- /table"),
    ],
)
def test_markers_that_cannot_be_followed_change_nothing(results: Path, text: str, message: str) -> None:
    document = page(results, text)
    with pytest.raises(ConfigError) as caught:
        write([document], results, SOURCES)
    assert str(caught.value).startswith(message)
    assert document.read_text(encoding="utf-8") == text


def test_a_table_may_come_from_several_files(results: Path) -> None:
    both = Source("both", __name__, "of_both", files=("speed", "size"))
    assert table("both", results, [both]) == "*Not measured yet: there is no `size.json`.*"
    (results / "size.json").write_text('{"mb": 6}', encoding="utf-8")
    assert table("both", results, [both]) == "3 ms, 6 MB"


def test_figures_of_a_quick_run_are_refused(results: Path) -> None:
    save(results, ms=3, quick=True)
    with pytest.raises(ConfigError, match="`speed.json` comes from a quick run, whose figures mean nothing"):
        table("speed", results, SOURCES)


@pytest.mark.parametrize(("content", "message"), [("{", " is no results file"), ("{}", ": not what `.*` reads")])
def test_damaged_results_are_named(results: Path, content: str, message: str) -> None:
    (results / "speed.json").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"`speed.json`{message}"):
        table("speed", results, SOURCES)


def test_check_says_what_differs_and_exits_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main(["--check"]) == 0
    monkeypatch.setattr(report, "check", lambda pages: "README.md: table `speed`, line 3")
    assert report.main(["--check"]) == 1
    assert capsys.readouterr().err == "error: README.md: table `speed`, line 3\n"


def test_what_rounds_to_nothing_has_no_minus() -> None:
    assert interval({"mean": -0.004, "low": -0.016, "high": 0.0}) == "+0.00 (-0.02 to +0.00)"
