"""Maps from an ONNX file: shares that add up, places that are found, and files that cannot be explained."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the extra `quantize` is not installed")

from edgeface.errors import ArtifactError, ImageError, MissingDependencyError  # noqa: E402
from edgeface.explain.explainer import Explainer, HeadMap  # noqa: E402
from edgeface.export.onnx_export import proof_crops  # noqa: E402
from edgeface.inference.attributes import AttributeEstimator  # noqa: E402
from edgeface.inference.detector import shipped_model  # noqa: E402
from edgeface.quantization.quantize import quantize  # noqa: E402
from edgeface.quantization.ranges import activation_ranges  # noqa: E402
from edgeface.spec.metadata import model_spec  # noqa: E402
from edgeface.spec.model import MODEL_KEY  # noqa: E402
from tests.fixtures import tiny_model, tiny_spec  # noqa: E402, F401

SHIPPED = shipped_model("attributes.onnx")
SIDE, GRID = 32, 8
YEARS = np.arange(4, dtype=np.float32) * 30


def probabilities(found: HeadMap) -> np.ndarray:
    odds = np.exp(found.answers - found.answers.max())
    return odds / odds.sum()


def totals(found: HeadMap) -> np.ndarray:
    return found.values.sum(axis=(1, 2)) + found.bias


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    with Explainer(SHIPPED, threads=1) as opened:
        yield opened


@pytest.mark.parametrize("row", [0, 3, 6])
def test_shares_add_up_to_the_shipped_networks_answers(explainer: Explainer, row: int) -> None:
    crop = proof_crops(explainer.spec.input_size)[row]
    maps = explainer(crop)
    with AttributeEstimator(SHIPPED, threads=1) as estimator:
        answer = estimator.from_crops(crop[None])
    assert {head: found.method for head, found in maps.items()} == {
        "age": "integrated",
        "gender": "cam",
        "race": "cam",
    }
    assert [found.values.shape for found in maps.values()] == [(1, 3, 3), (2, 3, 3), (5, 3, 3)]
    for head in ("gender", "race"):
        assert totals(maps[head]) == pytest.approx(maps[head].answers, abs=1e-4)
        assert probabilities(maps[head]) == pytest.approx(getattr(answer, head)[0], abs=1e-5)
    assert maps["age"].answers[0] == pytest.approx(answer.age[0], abs=1e-3)
    assert totals(maps["age"])[0] == pytest.approx(answer.age[0], abs=0.1)


def test_evidence_is_against_the_mean_class(explainer: Explainer) -> None:
    found = explainer(proof_crops(explainer.spec.input_size)[4])["race"]
    every = np.stack([found.evidence(index) for index in range(5)])
    assert every.sum(axis=0) == pytest.approx(np.zeros((3, 3)), abs=1e-5)
    assert (found.evidence() == every[found.answers.argmax()]).all()


@pytest.mark.parametrize("pooling", ["mean", "position"])
def test_a_place_that_decides_is_found(tmp_path: Path, pooling: str) -> None:
    crop = np.zeros((SIDE, SIDE, 3), np.uint8)
    crop[8:12, 20:24] = (255, 0, 0)  # the cell in row 2, column 5
    with Explainer(write_network(tmp_path / "net.onnx", pooling), threads=1) as opened:
        maps = opened(crop)
    for head in ("age", "gender"):
        evidence = maps[head].evidence(-1)  # older, female
        assert np.unravel_index(evidence.argmax(), (GRID, GRID)) == (2, 5)
        assert totals(maps[head]) == pytest.approx(maps[head].answers, rel=1e-3, abs=1e-3)
    rest = np.delete(maps["gender"].evidence().ravel(), 2 * GRID + 5)
    assert np.abs(rest).max() < 1e-5


def test_heads_with_hidden_layers_add_up_as_well(tmp_path: Path) -> None:
    crop = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    with Explainer(write_network(tmp_path / "net.onnx", hidden=True), threads=1) as opened:
        found = opened(crop)["gender"]
    assert found.method == "integrated"
    assert totals(found) == pytest.approx(found.answers, abs=0.02)


def test_a_head_that_is_not_there_has_no_map(tmp_path: Path) -> None:
    spec = dataclasses.replace(tiny_spec(), heads=tuple(h for h in tiny_spec().heads if h.name == "gender"))
    with Explainer(write_network(tmp_path / "net.onnx", spec=spec.to_json()), threads=1) as opened:
        assert list(opened(np.zeros((SIDE, SIDE, 3), np.uint8))) == ["gender"]


def test_an_8_bit_network_is_explained_by_its_own_features(tmp_path: Path, explainer: Explainer) -> None:
    crops = proof_crops(explainer.spec.input_size)
    ranges = activation_ranges(SHIPPED, [{"crops": crops}], "minmax", "proof")
    path = quantize(SHIPPED, tmp_path / "int8.onnx", "int8", "cpu-x86", ranges)
    with Explainer(path, threads=1) as opened, AttributeEstimator(path, threads=1) as estimator:
        maps, answer = opened(crops[6]), estimator.from_crops(crops[6:7])
    assert totals(maps["race"]) == pytest.approx(maps["race"].answers, abs=1e-4)
    assert probabilities(maps["race"]) == pytest.approx(answer.race[0], abs=0.02)
    float_map = explainer(crops[6])["race"].evidence(0)
    assert maps["race"].evidence(0) == pytest.approx(float_map, abs=0.2 * float(np.abs(float_map).max()))


def test_crops_of_another_size_are_refused(explainer: Explainer) -> None:
    with pytest.raises(ImageError, match=r"crop: expected uint8 \[96, 96, 3\], found uint8 \[48, 48, 3\]"):
        explainer(np.zeros((48, 48, 3), np.uint8))


def test_what_cannot_be_explained(tmp_path: Path, tiny_model: Path) -> None:  # noqa: F811
    half = quantize(SHIPPED, tmp_path / "half.onnx", "fp16", "cpu-x86")
    refused: list[tuple[Any, str]] = [
        (tiny_model, "has no feature map that all its answers come from .* python -m trainer explain"),
        (shipped_model("detector.onnx"), "is a face detector, expected an attribute network"),
        (tmp_path / "model.engine", "expected an ONNX file, name the one it was made from"),
        (half, "is in float16, too coarse for shares; explain the float model it was made from"),
    ]
    for path, message in refused:
        with pytest.raises(ArtifactError, match=message):
            Explainer(path)


def test_the_onnx_package_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match=r"explaining an answer needs `onnx`.*install -e .*\[quantize\]"):
        Explainer(SHIPPED)


def write_network(path: Path, pooling: str = "mean", hidden: bool = False, spec: str | None = None) -> Path:
    """A network of one convolution whose 4×4 cells see their own redness only: redder is older and likelier female."""
    random = np.random.default_rng(0)
    weights: dict[str, Any] = {
        "redness": (np.array([1, -0.5, -0.5]).reshape(1, 3, 1, 1) * np.ones((1, 1, 4, 4)) / 4000).astype(np.float32),
        "places": (random.uniform(0.5, 1.5, (1, 1, GRID, GRID)) / GRID**2).astype(np.float32),
        "shape": np.array([-1, 1], np.int64),
        "age_weight": np.array([[-2, 0, 3, 5]], np.float32),
        "age_bias": np.array([1, 0.5, 0, -1], np.float32),
        "years": YEARS,
        "axis": np.array([1], np.int64),
        "gender_weight": np.array([[-4, 6]], np.float32),
        "gender_bias": np.array([0.5, 0], np.float32),
        "hidden_weight": random.normal(size=(1, 6)).astype(np.float32),
        "hidden_bias": random.normal(size=6).astype(np.float32) / 10,
        "out_weight": random.normal(size=(6, 2)).astype(np.float32),
    }
    node: Callable[..., Any] = onnx.helper.make_node
    nodes = [
        node("Cast", ["crops"], ["floats"], to=onnx.TensorProto.FLOAT),
        node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        node("Conv", ["planes", "redness"], ["seen"], strides=[4, 4]),
        node("Relu", ["seen"], ["map"]),
        node("GlobalAveragePool", ["map"], ["pooled"])
        if pooling == "mean"
        else node("Conv", ["map", "places"], ["pooled"]),
        node("Reshape", ["pooled", "shape"], ["features"]),
        node("Gemm", ["features", "age_weight", "age_bias"], ["age_logits"]),
        node("Softmax", ["age_logits"], ["distribution"], axis=1),
        node("Mul", ["distribution", "years"], ["weighted"]),
        node("ReduceSum", ["weighted", "axis"], ["age"], keepdims=0),
        node("Sqrt", ["age"], ["age_std"]),
    ]
    if hidden:
        nodes += [
            node("Gemm", ["features", "hidden_weight", "hidden_bias"], ["inner"]),
            node("Relu", ["inner"], ["bent"]),
            node("MatMul", ["bent", "out_weight"], ["gender_logits"]),
        ]
    else:
        nodes.append(node("Gemm", ["features", "gender_weight", "gender_bias"], ["gender_logits"]))
    nodes.append(node("Softmax", ["gender_logits"], ["gender"], axis=1))
    heads = tuple(head for head in tiny_spec().heads if head.name != "race")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "cells",
        [value("crops", onnx.TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [value("age", 1, ["N"]), value("age_std", 1, ["N"]), value("gender", 1, ["N", 2])],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    text = dataclasses.replace(tiny_spec(), heads=heads).to_json() if spec is None else spec
    onnx.helper.set_model_props(model, {MODEL_KEY: text})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    assert model_spec(path).input_size == SIDE
    return path
