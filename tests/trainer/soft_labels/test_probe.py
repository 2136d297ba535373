"""Heads on embeddings that never saw whom they answer for, and the embeddings of other networks."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from typer.testing import CliRunner  # noqa: E402

from edgeface.errors import ArtifactError, ConfigError, DataError, MissingDependencyError  # noqa: E402
from edgeface.evaluation.datasets import find_faces  # noqa: E402
from tests.trainer.people import make_people  # noqa: E402
from trainer.__main__ import app  # noqa: E402
from trainer.config import Config, load_config  # noqa: E402
from trainer.data.samples import Samples, load_samples  # noqa: E402
from trainer.soft_labels.embed import dlib_embedding, onnx_embedding  # noqa: E402
from trainer.soft_labels.labels import SoftLabels  # noqa: E402
from trainer.soft_labels.probe import Learning, soft_labels  # noqa: E402

FOLDS = (2, 3, 4, 5)
EACH = 160
SHORT = Learning(hidden=256, epochs=80, members=1)
CONFIG = Config(train_folds=FOLDS[1:], validation_folds=FOLDS[:1], fairface=())


def people() -> tuple[Samples, SoftLabels]:
    """Faces whose embeddings tell gender, race and age, with some noise; every gender of fold 5 is labelled wrong."""
    random, count = np.random.default_rng(0), EACH * len(FOLDS)
    gender, race, age = random.integers(0, 2, count), random.integers(0, 5, count), random.integers(1, 90, count)
    vectors = np.concatenate([3 * np.eye(2)[gender], 3 * np.eye(5)[race], age[:, None] / 20], axis=1)
    vectors += random.normal(scale=0.3, size=vectors.shape)
    fold = np.repeat(FOLDS, EACH)
    names = np.array([f"{n}.png" for n in range(count)])
    nothing = np.full(count, -1)
    samples = Samples(np.zeros((count, 1, 1, 3), np.uint8), age.astype(np.float32), nothing, nothing, nothing,
                      np.where(fold == 5, 1 - gender, gender), race, fold, np.zeros(count, np.int64),
                      np.ones(count, bool), names)  # fmt: skip
    known = tuple(str(n) for n in range(count))
    return samples, SoftLabels(known, {"embedding": vectors.astype(np.float32)})


def test_a_fold_is_answered_by_heads_that_never_saw_its_labels() -> None:
    samples, embeddings = people()
    said: list[str] = []
    found = soft_labels(samples, [embeddings], CONFIG, 3, said.append, learning=SHORT)
    assert found.names == embeddings.names and found.columns["embedding"].shape == (len(samples), 3)
    for task in ("age", "gender", "race"):
        assert np.allclose(found.columns[task].sum(axis=1), 1, atol=1e-4), task
    gender = found.columns["gender"].argmax(axis=1)
    wrong = samples.fold == 5
    assert (gender[wrong] == samples.gender[wrong]).mean() < 0.2  # they say what the embeddings say
    assert (found.columns["race"].argmax(axis=1) == samples.race).mean() > 0.9
    years = found.columns["age"] @ np.arange(101)
    assert np.corrcoef(years, samples.age)[0, 1] > 0.7
    assert [line.split(":")[0] for line in said] == [f"fold {fold}" for fold in FOLDS]
    assert "utkface n 160, age_mae " in said[0] and "race_accuracy" in said[0]


def test_validation_pictures_teach_no_head() -> None:
    samples, embeddings = people()
    flipped = dataclasses.replace(samples, race=np.where(samples.fold == 2, (samples.race + 1) % 5, samples.race))
    first, second = (
        soft_labels(s, [embeddings], CONFIG, 0, lambda _: None, learning=SHORT) for s in (samples, flipped)
    )
    assert np.array_equal(first.columns["race"], second.columns["race"]) and "embedding" not in first.columns


def test_mirrored_pictures_are_learned_and_asked_too() -> None:
    """Mirrored vectors of noise: half of what is averaged is a guess, and what is left still tells."""
    samples, embeddings = people()
    noise = np.random.default_rng(1).normal(size=embeddings.columns["embedding"].shape).astype(np.float32)
    mirrored = SoftLabels(embeddings.names, {"embedding": noise})
    alone = soft_labels(samples, [embeddings], CONFIG, 3, lambda _: None, learning=SHORT)
    both = soft_labels(samples, [embeddings], CONFIG, 3, lambda _: None, [mirrored], SHORT)
    assert np.array_equal(alone.columns["embedding"], both.columns["embedding"])  # the images' own vectors
    assert both.columns["race"].max(axis=1).mean() < alone.columns["race"].max(axis=1).mean() - 0.1
    assert (both.columns["race"].argmax(axis=1) == samples.race).mean() > 0.8
    with pytest.raises(DataError, match="--mirrored: expected the same networks in the same order, 8 numbers an image"):
        soft_labels(samples, [embeddings], CONFIG, 3, print, [mirrored, mirrored])


def test_principal_axes_keep_what_varies_most() -> None:
    samples, embeddings = people()
    vectors = embeddings.columns["embedding"]
    found = soft_labels(samples, [embeddings], CONFIG, vectors.shape[1], lambda _: None, learning=SHORT)
    whole = found.columns["embedding"]
    standard = (vectors - vectors[EACH:].mean(axis=0)) / vectors[EACH:].std(axis=0)
    assert np.allclose(np.linalg.norm(whole, axis=1), np.linalg.norm(standard, axis=1), rtol=1e-3)  # a rotation
    spread = whole[EACH:].std(axis=0)
    assert (np.diff(spread) <= 1e-3).all()


def test_what_is_missing_is_said() -> None:
    samples, embeddings = people()
    with pytest.raises(DataError, match="expected a column embedding, found gender"):
        soft_labels(samples, [SoftLabels(("0",), {"gender": np.ones((1, 2), np.float32)})], CONFIG, 0, print)
    stranger = SoftLabels(("stranger",), {"embedding": np.ones((1, 2), np.float32)})
    with pytest.raises(DataError, match="the embeddings have none of the recipe's training images"):
        soft_labels(samples, [stranger], CONFIG, 0, print)
    few = dataclasses.replace(CONFIG, train_folds=(3,))
    with pytest.raises(DataError, match="expected 256 training images or more in the other folds, found 160"):
        soft_labels(samples, [embeddings], few, 0, print)
    with pytest.raises(DataError, match="--width: expected at most the 8 dimensions there are, found 9"):
        soft_labels(samples, [embeddings], CONFIG, 9, lambda _: None, learning=SHORT)


def mean_colour(path: Path, dtype: int = TensorProto.FLOAT, batch: str | int = "N") -> Path:
    """A network that answers an image's mean colour."""
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["x"], ["mean"])], "mean",
        [helper.make_tensor_value_info("x", dtype, [batch, 3, 32, 32])],
        [helper.make_tensor_value_info("mean", dtype, [batch, 3, 1, 1])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)
    return path


def test_pictures_embedded_by_an_onnx_network(tmp_path: Path) -> None:
    folder, out = make_people(tmp_path / "utkface"), tmp_path / "mean.safetensors"
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f"utkface = ['{folder}']\nfairface = []\n")
    network = mean_colour(tmp_path / "mean.onnx")
    call = ["embed", str(recipe), "--onnx", str(network), "--side", "32", "--mean", "127.5", "--scale", "0.01"]
    result = CliRunner().invoke(app, [*call, "-o", str(out)])
    assert result.exit_code == 0 and result.stdout.strip() == str(out)
    found = SoftLabels.load(out)
    assert len(found.names) == 48 and "39_1_20170116174525125" not in found.names  # its name is no label
    vectors = found.columns["embedding"]
    assert vectors.shape == (48, 3)
    red = vectors[:, 0] > vectors[:, 2]
    assert red.sum() == 45  # RGB: three chips are blue
    assert vectors.max() <= 1.275 + 1e-3 and vectors.min() >= -1.275 - 1e-3


def test_a_network_that_takes_one_picture_at_once(tmp_path: Path) -> None:
    folder = make_people(tmp_path / "utkface", count=20)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f"utkface = ['{folder}']\nfairface = []\n")
    found = []
    for batch in (1, "N"):
        network, out = mean_colour(tmp_path / f"{batch}.onnx", batch=batch), tmp_path / f"{batch}.safetensors"
        call = ["embed", str(recipe), "--onnx", str(network), "--side", "32", "-o", str(out)]
        result = CliRunner().invoke(app, [*call, *["--batch", "1"] * (batch == 1)])
        assert result.exit_code == 0, result.output
        found.append(SoftLabels.load(out).columns["embedding"])
    assert np.array_equal(*found)
    call = ["embed", str(recipe), "--onnx", str(tmp_path / "1.onnx"), "--side", "32", "-o", str(tmp_path / "x")]
    error = str(CliRunner().invoke(app, call).exception)
    assert error == "input `x`: expected float32 (1, 3, 32, 32), found float32 (16, 3, 32, 32)"


@pytest.mark.parametrize("crops", [False, True])
def test_only_the_recipes_folds_are_embedded(crops: bool, tmp_path: Path) -> None:
    folder, out = make_people(tmp_path / "utkface"), tmp_path / "mean.safetensors"
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f"utkface = ['{folder}']\nfairface = []\ncache = '{tmp_path / 'cache'}'\ninput_size = 32\n"
                      "train_folds = [4, 7]\n")  # fmt: skip
    call = ["embed", str(recipe), "--onnx", str(mean_colour(tmp_path / "mean.onnx")), "--side", "32", "-o", str(out)]
    assert CliRunner().invoke(app, [*call, *["--crops"] * crops]).exit_code == 0
    faces = find_faces([folder])[0].faces
    expected = {Path(face.name).stem for face in faces if face.fold in (2, 4, 7)}
    assert 0 < len(expected) < len(faces) and set(SoftLabels.load(out).names) == expected


def left_half(path: Path) -> Path:
    """A network that answers the mean colour of an image's left half."""
    whole = onnx.load(mean_colour(path))
    axes = {"starts": [0], "ends": [8], "axes": [3]}
    for name, values in axes.items():
        whole.graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [1], values))
    whole.graph.node.insert(0, helper.make_node("Slice", ["x", *axes], ["left"]))
    whole.graph.node[1].input[0] = "left"
    onnx.save(whole, path)
    return path


@pytest.mark.parametrize("mirror", [False, True])
def test_aligned_crops_and_mirrored_pictures(tmp_path: Path, mirror: bool) -> None:
    folder, out = make_people(tmp_path / "utkface"), tmp_path / "left.safetensors"
    for path in folder.iterdir():
        picture = cv2.imread(str(path))
        cv2.imwrite(str(path), picture * np.linspace(0.2, 1, picture.shape[1])[None, :, None])
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f"utkface = ['{folder}']\nfairface = []\ncache = '{tmp_path / 'cache'}'\ninput_size = 32\n")
    call = ["embed", str(recipe), "--onnx", str(left_half(tmp_path / "left.onnx")), "--side", "32", "--crops"]
    result = CliRunner().invoke(app, [*call, *["--mirror"] * mirror, "-o", str(out)])
    assert result.exit_code == 0, result.output
    samples = load_samples(load_config(recipe)).samples
    found = SoftLabels.load(out).of(map(str, samples.name))["embedding"]
    pixels = samples.pixels[:]
    left, right = (half.mean(axis=(1, 2)) for half in (pixels[:, :, :8], pixels[:, :, -8:]))
    assert np.abs(left - right).max(axis=1).min() > 5
    assert np.allclose(found, right if mirror else left, atol=0.1)


def test_one_network_has_to_be_named(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("")
    result = CliRunner().invoke(app, ["embed", str(recipe), "-o", str(tmp_path / "x.safetensors")])
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception) == "embed: expected either --onnx FILE or --dlib"
    result = CliRunner().invoke(app, ["embed", str(recipe), "--dlib", "--crops", "-o", str(tmp_path / "x.safetensors")])
    assert str(result.exception) == "embed: --crops is for --onnx; dlib cuts whole images by its own landmarks"
    with pytest.raises(ArtifactError, match="expected one float32 input and an output features, found inputs"):
        onnx_embedding(mean_colour(tmp_path / "a.onnx"), 32, 0, 1, "features")


@pytest.mark.skipif(importlib.util.find_spec("face_recognition_models") is not None, reason="dlib's weights are there")
def test_dlib_is_asked_for() -> None:
    with pytest.raises(MissingDependencyError, match="pip install dlib-bin face_recognition_models"):
        dlib_embedding()
