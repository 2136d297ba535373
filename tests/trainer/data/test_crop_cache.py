"""Crops and labels from data sets: cached, counted, and mapped to what the losses want."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from edgeface.errors import DataError  # noqa: E402
from edgeface.imaging.preprocess import centre_crop  # noqa: E402
from edgeface.types import Faces, Image  # noqa: E402
from tests.fixtures import open_faces, tiny_detector  # noqa: E402, F401
from tests.trainer.people import make_fairface, make_people, write_chip  # noqa: E402
from trainer.config import Config  # noqa: E402
from trainer.data.crop_cache import Cut, Stack, cache_key, cached_crops, cached_masks  # noqa: E402
from trainer.data.samples import cut_of, load_samples  # noqa: E402


@pytest.fixture
def config(tmp_path: Path, tiny_detector: Path) -> Config:  # noqa: F811
    faces, labels = make_fairface(tmp_path / "fairface")
    return Config(
        utkface=(str(make_people(tmp_path / "utkface")),),
        fairface=(str(faces),),
        fairface_labels=str(labels),
        detector=str(tiny_detector),
        cache=str(tmp_path / "cache"),
        input_size=32,
    )


def test_samples_carry_labels_and_what_was_left_out(config: Config) -> None:
    loaded = load_samples(config)
    samples = loaded.samples
    assert samples.pixels.shape == (48 + 24, 32, 32, 3) and samples.pixels.dtype == np.uint8
    assert loaded.missed == {"utkface": 3, "fairface": 0}
    assert loaded.skipped["utkface"][0].startswith("39_1_20170116174525125.png (3 fields")
    utkface, fairface = samples.source == 0, samples.source == 1
    assert np.isfinite(samples.age[utkface]).all() and (samples.interval[utkface] == -1).all()
    assert np.isnan(samples.age[fairface]).all() and (samples.interval[fairface] >= 0).all()
    assert not set(samples.fold[utkface]) & {0, 1}


def test_targets_are_interval_ends_in_years(config: Config) -> None:
    samples = load_samples(config).samples
    targets = samples.targets(np.arange(len(samples)))
    ends = set(zip(targets.low.tolist(), targets.high.tolist()))
    assert ends == {(-1, -1), (0, 2), (20, 29), (70, 120)}


def test_a_second_run_neither_decodes_nor_detects(config: Config) -> None:
    first = load_samples(config).samples
    cut = dataclasses.replace(cut_of(config), detector=_no_detector)
    for place, labels in ((config.utkface[0], None), (config.fairface[0], config.fairface_labels)):
        faces = open_faces(place, labels)
        again = cached_crops(faces, cut, Path(config.cache), threads=1)
        assert any(np.array_equal(again.pixels[0], crop) for crop in first.pixels)


def test_whatever_changes_the_crops_changes_the_key(config: Config, tmp_path: Path) -> None:
    faces, cut = open_faces(config.utkface[0]), cut_of(config)
    keys = [
        cache_key(faces, cut),
        cache_key(faces, dataclasses.replace(cut, size=48)),
        cache_key(faces, dataclasses.replace(cut, detector_sha256="0")),
        cache_key(faces, dataclasses.replace(cut, alignment=Config(eye_distance=0.2).alignment)),
        cache_key(dataclasses.replace(faces, faces=faces.faces[1:]), cut),
    ]
    write_chip(Path(config.utkface[0]) / faces.faces[0].name, (0, 255, 0), 9)
    keys.append(cache_key(faces, cut))
    assert len(set(keys)) == len(keys)


def test_a_missed_face_is_its_centre_square(config: Config) -> None:
    faces = open_faces(config.utkface[0])
    blind = Cut(lambda: _sees_nothing, "blind", config.alignment, 32)
    crops = cached_crops(faces, blind, Path(config.cache), threads=2)
    assert not crops.found.any() and crops.readable.all()
    import cv2

    image = cv2.imread(str(Path(config.utkface[0]) / faces.faces[5].name))[..., ::-1]
    assert np.array_equal(crops.pixels[5], centre_crop(np.ascontiguousarray(image), 32))


def test_unreadable_pictures_are_counted_and_left_out(config: Config) -> None:
    broken = sorted(Path(config.utkface[0]).glob("*_0_*.png"))[0]
    broken.write_text("no image")
    loaded = load_samples(config)
    assert loaded.unreadable["utkface"] == [broken.name]
    assert len(loaded.samples) == 48 + 24 - 1


def test_manifests_join_the_others(config: Config, tmp_path: Path) -> None:
    write_chip(tmp_path / "own" / "x.png", (255, 0, 0), 1)
    (tmp_path / "own" / "faces.csv").write_text("path,age,race,fold\nx.png,15-24,3,5\n")
    samples = load_samples(dataclasses.replace(config, manifests=(str(tmp_path / "own" / "faces.csv"),))).samples
    (row,) = samples.rows([5], source=2)
    targets = samples.targets(np.array([row]))
    assert (int(targets.low), int(targets.high), int(targets.race), int(targets.gender)) == (15, 24, 3, -1)
    assert samples.interval[row] == -1, "no age band holds 15 to 24"


def test_excluded_pictures_are_not_trained_on(config: Config, tmp_path: Path) -> None:
    samples = load_samples(config).samples
    trained, held_out = (samples.rows(folds, 0)[0] for folds in (config.train_folds, config.validation_folds))
    fairface = samples.rows(config.train_folds, 1)[0]
    names = [str(samples.name[row]) for row in (trained, held_out, fairface)]
    other_format = names[0].replace(".png", ".jpg.chip.jpg")
    (tmp_path / "names.txt").write_text(f"# look-alikes\n{other_format}\n{names[1]}\n\n{names[2]} # why\n")
    loaded = load_samples(dataclasses.replace(config, exclude=str(tmp_path / "names.txt")))
    gone = samples.fold != loaded.samples.fold
    assert set(np.flatnonzero(gone)) == {trained, fairface} and loaded.excluded == 2
    with pytest.raises(DataError, match="cannot read `nowhere.txt`, the names of images to leave out"):
        load_samples(dataclasses.replace(config, exclude="nowhere.txt"))


def test_pixels_are_mapped_not_copied(config: Config) -> None:
    pixels = load_samples(config).samples.pixels
    assert isinstance(pixels, Stack) and all(isinstance(part, np.memmap) for part in pixels.parts)
    whole = np.asarray(pixels)
    rows = np.array([70, 0, 49, 49, 3])
    assert np.array_equal(pixels[rows], whole[rows]) and np.array_equal(pixels[5:60:7], whole[5:60:7])
    assert np.array_equal(pixels[-1], whole[-1]) and len(pixels) == len(whole)
    assert pixels[np.empty(0, np.int64)].shape == (0, 32, 32, 3)


def test_masks_are_made_once(config: Config) -> None:
    crops = cached_crops(open_faces(config.utkface[0]), cut_of(config), Path(config.cache), threads=1)
    first = cached_masks(crops, lambda crop: crop[..., 0], "red", threads=2)
    assert np.array_equal(first, np.asarray(crops.pixels)[..., 0])
    assert np.array_equal(cached_masks(crops, lambda _: _no_detector(), "red", threads=2), first)


def test_missing_data_and_detector_are_named(config: Config, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data at `nowhere`"):
        load_samples(dataclasses.replace(config, utkface=("nowhere",)))
    with pytest.raises(DataError, match="no detector at `none.onnx`.*--set detector=FILE"):
        load_samples(dataclasses.replace(config, detector="none.onnx"))
    with pytest.raises(DataError, match="utkface: no image of fold 0, 1 in "):
        load_samples(dataclasses.replace(config, train_folds=(0,), validation_folds=(1,)))


def _no_detector() -> None:
    raise AssertionError("the cache should have answered")


def _sees_nothing(_: Image) -> Faces:
    return Faces.empty()
