"""The pages in ``docs/`` say what is true: output keeps the schemas, links, options and metrics exist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeface.cli.main import app
from edgeface.pipeline.run_metrics import run_metrics
from edgeface.pipeline.run_stats import RunStats
from edgeface.sinks.counts import CountOptions
from edgeface.sinks.file_sinks import JsonlSink
from edgeface.sinks.mqtt import summary
from edgeface.sinks.privacy import CountingSink, without_heads
from edgeface.types import HEADS
from tests.conftest import ROOT
from tests.pipeline.clips import a_face, result

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed (extra `dev`)")
PAGES = sorted((ROOT / "docs").glob("*.md"))
PIXELS = np.zeros((32, 48, 3), np.uint8)


def check(name: str, message: Any) -> None:
    schema = json.loads((ROOT / "docs" / "schema" / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(json.loads(json.dumps(message)))


def test_frames_keep_their_schema() -> None:
    faces = (
        a_face(track=1, abstained=("race",)),
        a_face(landmarks=None),
        without_heads(a_face(), ()),
        *(without_heads(a_face(track=2), (head,)) for head in HEADS),
    )
    for shown in ((), faces):
        check("frame", type(result(PIXELS))(result(PIXELS, 3, 0.12).frame, shown).to_dict())
    check("frame", result(PIXELS, pts_s=None).to_dict())


def test_a_schema_that_everything_passes_is_none() -> None:
    message = result(PIXELS, 3, 0.12).to_dict()
    message["faces"][0]["name"] = "someone"
    with pytest.raises(jsonschema.ValidationError, match="'name' was unexpected"):
        check("frame", message)


@pytest.mark.parametrize("people", [0, 1, 9])
def test_counts_and_summaries_keep_their_schema(tmp_path: Path, people: int) -> None:
    frame = result(PIXELS, 0, 0.0, faces=people)
    check("state", summary(frame, people))
    with CountingSink(JsonlSink(tmp_path / "a.jsonl"), CountOptions(), HEADS) as sink:
        sink.append(frame)
    check("counts", json.loads((tmp_path / "a.jsonl").read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_exist(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_exist(page: Path) -> None:
    from typer.main import get_command

    run = get_command(app).commands["run"]  # type: ignore[attr-defined]
    known = {name for parameter in run.params for name in parameter.opts}
    named = set(re.findall(r"`(--[a-z-]+)", page.read_text(encoding="utf-8")))
    assert named <= known


def test_metrics_exist() -> None:
    pytest.importorskip("prometheus_client", reason="prometheus-client is not installed (extra `live`)")
    text = (ROOT / "docs" / "operation.md").read_text(encoding="utf-8")
    named = set()
    for name in re.findall(r"\b((?:edgeface|process)_[a-z_]+(?:\{[a-z,]+\}_total)?)", text):
        head, _, rest = name.partition("{")
        named |= {head + word + "_total" for word in rest.partition("}")[0].split(",")} if rest else {head}
    written = run_metrics(RunStats()).text()
    assert len(named) > 15 and [name for name in sorted(named) if f"# TYPE {name} " not in written] == []
