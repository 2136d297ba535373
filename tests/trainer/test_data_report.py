"""The data report finds what was put wrong on purpose, and its list of names is one that training takes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from edgeface.errors import ConfigError  # noqa: E402
from edgeface.evaluation.datasets import fold_of  # noqa: E402
from edgeface.types import Attributes  # noqa: E402
from tests.fixtures import tiny_detector  # noqa: E402, F401
from trainer import train  # noqa: E402
from trainer.config import Config  # noqa: E402
from trainer.data.samples import load_samples  # noqa: E402
from trainer.data_report.findings import odd_labels  # noqa: E402
from trainer.data_report.write_report import write_data_report  # noqa: E402


def stamp(fold: int, number: int) -> str:
    """The ``number``-th date and time of ``fold``."""
    stamps = (str(20170101000000000 + step) for step in range(10_000))
    return [text for text, _ in zip((text for text in stamps if fold_of(text) == fold), range(number + 1))][-1]


def picture(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (64, 64), interpolation=cv2.INTER_NEAREST)


@pytest.fixture
def config(tmp_path: Path, tiny_detector: Path) -> Config:  # noqa: F811
    """Images all of their own, but for copies: a training face of a test and of a validation one."""
    folder = tmp_path / "people"
    folder.mkdir()
    faces = {f"{20 + fold}_{number % 2}_{fold % 5}_{stamp(fold, number)}.png": 10 * fold + number
             for fold in range(1, 10) for number in range(6)}  # fmt: skip
    faces[f"64_0_0_{stamp(4, 10)}.png"] = 13  # the fourth of fold 1
    faces[f"116_1_0_{stamp(5, 10)}.png"] = 22  # the third of fold 2
    for name, seed in faces.items():
        cv2.imwrite(str(folder / name), np.clip(picture(seed).astype(int) + 3 * (seed in (13, 22)), 0, 255))
    (folder / f"30_0_0_{stamp(6, 11)}.png").write_text("no image")
    cv2.imwrite(str(folder / "39_1_20170116174525125.png"), picture(1))
    return Config(
        utkface=(str(folder),), fairface=(), detector=str(tiny_detector), cache=str(tmp_path / "cache"),
        out=str(tmp_path / "run"), input_size=32, stem=4, widths=(8,), depths=(1,), batch=8, epochs=1, threads=1,
    )  # fmt: skip


def test_what_is_wrong_is_found(config: Config, tmp_path: Path) -> None:
    page = write_data_report(config, tmp_path / "report")
    found = json.loads((tmp_path / "report" / "data.json").read_text())
    assert found["malformed"]["utkface"][0].startswith("39_1_20170116174525125.png (3 fields")
    assert found["unreadable"] == {"utkface": [f"30_0_0_{stamp(6, 11)}.png"]}
    copies = {item["name"]: item["like"] for item in found["look_alikes"]}
    assert copies == {
        f"64_0_0_{stamp(4, 10)}.png": f"21_1_1_{stamp(1, 3)}.png",
        f"116_1_0_{stamp(5, 10)}.png": f"22_0_2_{stamp(2, 2)}.png",
    }
    assert [item["said"] for item in found["odd"]["age 100 and more"]] == ["116 y"]
    assert found["counts"]["utkface"]["fold"]["4"] == 7 and found["counts"]["utkface"]["age"]["70+"] == 1
    text = page.read_text()
    assert text.count("data:image/jpeg") == 3 and "2 images nearly equal" in text
    assert 'src="http' not in text and "30_0_0_" in text

    names = tmp_path / "report" / "near-duplicates.txt"
    loaded = load_samples(dataclasses.replace(config, exclude=str(names)))
    assert loaded.excluded == 2 and names.read_text().count("\n") == 5


def test_a_model_points_at_labels_that_it_doubts(config: Config, tmp_path: Path) -> None:
    train.fit(config)
    write_data_report(config, tmp_path / "report", Path(config.out) / "last.pt")
    odd = json.loads((tmp_path / "report" / "data.json").read_text())["odd"]
    assert [item["said"] for item in odd["age label 100 and more"]] == ["116 y"]
    with pytest.raises(ConfigError, match="sees crops of 32 px .*, the recipe cuts 48 px"):
        write_data_report(dataclasses.replace(config, input_size=48), tmp_path / "x", Path(config.out) / "last.pt")


def test_doubts_come_in_order(config: Config) -> None:
    samples = load_samples(config).samples
    count = len(samples)
    gender = np.eye(2, dtype=np.float32)[samples.gender]
    gender[7] = gender[7][::-1]
    said = Attributes(
        age=np.nan_to_num(samples.age) + np.where(np.arange(count) == 3, 40, np.where(np.arange(count) == 5, 30, 0)),
        age_std=np.ones(count, np.float32),
        gender=gender,
        race=np.full((count, 5), np.nan, np.float32),  # an absent head
    )
    odd = odd_labels(samples, said)
    assert [item.name for item in odd["other ages far off"]] == [samples.name[3], samples.name[5]]
    assert [item.name for item in odd["gender answered otherwise"]] == [samples.name[7]]
    assert odd["race answered otherwise"] == []
