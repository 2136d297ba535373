"""Images between two faces: of one fold and of about one age, unlabelled, the same for the same seed."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from typer.testing import CliRunner  # noqa: E402

from edgeface.errors import DataError  # noqa: E402
from edgeface.evaluation.metrics import AGE_INTERVALS  # noqa: E402
from edgeface.imaging.image_io import decode_image  # noqa: E402
from tests.fixtures import tiny_detector  # noqa: E402, F401
from tests.trainer.people import make_people  # noqa: E402
from trainer.__main__ import app  # noqa: E402
from trainer.config import load_config  # noqa: E402
from trainer.data.manifest import open_manifest  # noqa: E402
from trainer.data.morphs import MANIFEST, SIDE, ZIP, morph, pairs  # noqa: E402
from trainer.data.samples import load_samples  # noqa: E402


def recipe_of(tmp_path: Path, detector: Path) -> Path:
    folder, recipe = make_people(tmp_path / "utkface"), tmp_path / "recipe.toml"
    recipe.write_text(f"utkface = ['{folder}']\nfairface = []\ncache = '{tmp_path / 'cache'}'\n"
                      f"detector = '{detector}'\ninput_size = 32\n"
                      "train_folds = [3, 4, 5, 6]\nvalidation_folds = [2]\n")  # fmt: skip
    return recipe


def written(recipe: Path, out: Path, *more: str) -> Path:
    result = CliRunner().invoke(app, ["morphs", str(recipe), "-o", str(out), "--count", "40", *more])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(out / MANIFEST)
    return out


def test_unlabelled_pictures_of_the_training_folds(tmp_path: Path, tiny_detector: Path) -> None:  # noqa: F811
    recipe = recipe_of(tmp_path, tiny_detector)
    out = written(recipe, tmp_path / "morphs")
    (found,) = open_manifest(out / MANIFEST)
    assert len(found.faces) == 40 and not found.skipped
    assert {face.fold for face in found.faces} <= {3, 4, 5, 6}
    assert all(face.gender == face.race == -1 and np.isnan(face.age) for face in found.faces)
    for raw in found.read(face.name for face in found.faces):
        picture = decode_image(raw, "morph")
        assert picture.shape == (SIDE, SIDE, 3)
        assert picture[SIDE // 2, SIDE // 2, 0] > 200, "RGB: only the red chips have faces"
    samples = load_samples(load_config(recipe, [f'manifests=["{out / MANIFEST}"]'])).samples
    assert len(samples) == 88 and (samples.low[samples.source == 2] == -1).all()


def test_the_same_seed_gives_the_same_files(tmp_path: Path, tiny_detector: Path) -> None:  # noqa: F811
    recipe = recipe_of(tmp_path, tiny_detector)
    one, two, other = (written(recipe, tmp_path / name, "--seed", name[0]) for name in ("1", "1 again", "2"))
    names = [face.name for out in (one, other) for face in open_manifest(out / MANIFEST)[0].faces]
    assert len(set(names)) == 80, "sets of two seeds go together"
    assert (one / ZIP).read_bytes() == (two / ZIP).read_bytes() != (other / ZIP).read_bytes()
    assert (one / MANIFEST).read_text() == (two / MANIFEST).read_text()
    with zipfile.ZipFile(one / ZIP) as archive:
        assert len({archive.read(name) for name in archive.namelist()}) > 30


def test_pairs_are_of_one_fold_and_of_about_one_age(tmp_path: Path, tiny_detector: Path) -> None:  # noqa: F811
    samples = load_samples(load_config(recipe_of(tmp_path, tiny_detector))).samples
    rows = pairs(samples, (3, 4, 5, 6, 7), 100, np.random.default_rng(0))
    assert rows.shape == (100, 2) and (rows[:, 0] != rows[:, 1]).all()
    assert (samples.fold[rows[:, 0]] == samples.fold[rows[:, 1]]).all() and samples.found[rows].all()
    band = np.searchsorted([first for first, _ in AGE_INTERVALS], samples.age[rows], "right")
    apart = np.abs(np.diff(band, axis=1))
    assert np.median(apart) <= 2, "few faces a fold: neighbours by age are what there is"
    with pytest.raises(DataError, match=r"expected two found faces or more in one of the folds 0, 1, found none; name"):
        pairs(samples, (0, 1), 5, np.random.default_rng(0))


def test_with_even_ages_the_rare_ones_are_in_as_many_pairs(tmp_path: Path, tiny_detector: Path) -> None:  # noqa: F811
    samples = load_samples(load_config(recipe_of(tmp_path, tiny_detector))).samples
    samples.fold[:], samples.age[:] = 3, 30
    rare = np.flatnonzero(samples.found)[:5]
    samples.age[rare] = 80
    plain, even = (pairs(samples, (3,), 400, np.random.default_rng(0), on) for on in (False, True))
    assert (even[:, 0] != even[:, 1]).all()
    assert np.isin(plain, rare).mean() < 0.25 and 0.4 < np.isin(even, rare).mean() < 0.6


@given(st.integers(0, 10_000))
def test_every_pixel_is_between_the_two(seed: int) -> None:
    random = np.random.default_rng(seed)
    one, other = random.integers(0, 256, (2, 24, 24, 3), dtype=np.uint8)
    mixed = morph(one, other, random)
    assert (mixed >= np.minimum(one, other)).all() and (mixed <= np.maximum(one, other)).all()
    share = morph(np.full_like(one, 255), np.zeros_like(one), random)
    assert share.max() > 255 / 3 and share.min() < 255 * 2 / 3, "both faces show"
