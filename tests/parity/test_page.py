"""The report page: whole, self-contained, well-formed, and with the figures that the report has."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edgeface.evaluation.labelled_crops import LabelledCrops
from edgeface.parity import ParityReport, compare, failures
from edgeface.parity.page import page
from edgeface.parity.svg import Bar, bars, histogram
from edgeface.parity.text import tables
from tests.parity.conftest import Perturb
from tests.parity.test_attribute_parity import PALER


@pytest.fixture
def report(tiny_model: Path, perturb: Perturb, crops: LabelledCrops) -> ParityReport:
    return compare(tiny_model, [perturb("pa<er.onnx", gender_weights=PALER)], crops, latency_s=0.02)


def charts(text: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


def words(chart: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in chart.iter("{http://www.w3.org/2000/svg}text")]


def test_the_page_stands_alone_and_escapes_names(report: ParityReport) -> None:
    text = page(report, failures(report))
    HTMLParser().feed(text)
    assert not re.search(r'(src|href)="|<script|@import|url\(', text)
    assert "pa&lt;er.onnx" in text
    assert "pa<er" not in text
    assert "The gate is not passed." in text
    assert "The gate is passed" in page(report, [])


def test_it_charts_groups_ages_and_latency(report: ParityReport) -> None:
    found = charts(page(report, []))
    assert len(found) == 5, "three heads by group, the age histogram, latency"
    assert {"male", "female", "120 faces"} <= set(words(found[1]))
    assert "tiny.onnx" in words(found[-1])


def test_layer_sensitivity_is_shown_where_a_search_measured_it(report: ParityReport) -> None:
    search = {"precision": "int8", "keep_float": ["Conv_7"], "search": {"sensitivity": {"Conv_1": 0.2, "Conv_7": 1.4}}}
    candidate = dataclasses.replace(report.candidates[0], precision=search)
    text = page(dataclasses.replace(report, candidates=(candidate,)), [])
    (chart,) = [chart for chart in charts(text) if "Conv_1" in words(chart)]
    assert words(chart).index("Conv_7") < words(chart).index("Conv_1"), "the most sensitive first"
    assert "kept in float" in words(chart)


def test_a_candidate_without_answers_still_has_a_page(tiny_model: Path, perturb: Perturb, crops: LabelledCrops) -> None:
    report = compare(tiny_model, [perturb("nan.onnx", years=float("nan"))], crops, latency_s=0)
    assert "NaN or infinity" in page(report, failures(report))


def test_tables_name_the_worst_groups(report: ParityReport) -> None:
    heads, worst = tables(report)
    assert [row[0] for row in heads.rows][:3] == ["age, years", "gender, points", "race, points"]
    assert worst.rows[0][0].startswith("gender: ")
    assert re.fullmatch(r"\+\d+\.\d\d \(\+\d+\.\d\d to \+\d+\.\d\d\)", worst.rows[0][3])


def test_bars_start_at_zero_and_reach_their_value() -> None:
    (chart,) = charts(bars([Bar("a", 2.0, (1.0, 3.0)), Bar("b", -1.0, bad=True)], "points", 1.0))
    first, second = chart.iter("{http://www.w3.org/2000/svg}rect")
    right = float(second.attrib["x"]) + float(second.attrib["width"])
    assert right == pytest.approx(float(first.attrib["x"]), abs=0.2)
    assert float(first.attrib["width"]) == pytest.approx(2 * float(second.attrib["width"]), abs=0.5)
    assert first.attrib["fill"] != second.attrib["fill"]
    assert bars([], "points") == ""


def test_equal_values_can_be_drawn() -> None:
    assert len(charts(bars([Bar("a", 0.0, (0.0, 0.0))], "years"))) == 1
    assert len(charts(histogram([0, 1, 2], [0, 0], "years"))) == 1
