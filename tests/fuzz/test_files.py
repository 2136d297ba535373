"""Damaged images, zips and programs through the commands' code: sentences, never a traceback, and little memory.

Seeded and bounded: the same files in every run.
"""

from __future__ import annotations

import io
import json
import os
import random
import resource
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.cli.conftest import Cli, cli  # noqa: F401
from tests.fixtures import picture, tiny_detector, tiny_model, tiny_spec  # noqa: F401

IMAGES, ZIPS, PROGRAMS = 320, 160, 60
MOST_BYTES = 1 << 30


@pytest.fixture
def little_memory() -> Iterator[None]:
    """The process may take 1 GiB more address space than it has, so that a bomb fails where it would be decoded."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    before = resource.getrlimit(resource.RLIMIT_AS)
    if pages:
        resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + MOST_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def damaged(data: bytes, dice: random.Random) -> bytes:
    """``data`` with bits turned, a part cut, doubled, blanked or put elsewhere, or numbers made huge."""
    out = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 8))):
        at = dice.randrange(max(1, min(len(out), dice.choice((32, 256, len(out) or 1)))))
        length = dice.choice((1, 2, 4, 64))
        kind = dice.randrange(6)
        if kind == 0 and out:
            out[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            del out[at:]
        elif kind == 2:
            out[at:at] = out[at : at + length]
        elif kind == 3:
            out[at : at + length] = b"\0" * length
        elif kind == 4:
            out[at : at + length] = b"\xff" * length
        else:
            del out[at : at + length]
    return bytes(out)


def whole_images() -> list[tuple[str, bytes]]:
    pixels = np.ascontiguousarray(picture()[..., ::-1])
    kinds = (".jpg", ".png", ".bmp", ".webp", ".tif")
    return [(suffix, cv2.imencode(suffix, pixels)[1].tobytes()) for suffix in kinds]


def whole_zip(method: int, name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(name, content)
        archive.writestr(f"more/{name}", content)
    return buffer.getvalue()


def test_damaged_images_are_named_and_the_others_go_on(
    tmp_path: Path,
    cli: Cli,  # noqa: F811
    tiny_model: Path,  # noqa: F811
    tiny_detector: Path,  # noqa: F811
    little_memory: None,
) -> None:
    dice = random.Random(1)
    whole = whole_images()
    for number in range(IMAGES):
        suffix, data = whole[number % len(whole)]
        (tmp_path / f"{number:04d}{suffix}").write_bytes(damaged(data, dice))
    for suffix, data in whole:
        (tmp_path / f"whole{suffix}").write_bytes(data)
    models = ("--model", tiny_model, "--detector", tiny_detector, "--threads", "1")
    for verb in ("predict", "run"):
        result = cli(verb, tmp_path, "--json", *models)
        assert result.code == 1
        lines, errors = result.json_lines(), [line for line in result.err.splitlines() if line.startswith("error: ")]
        assert len(lines) + len(errors) == IMAGES + len(whole)
        assert len(errors) > IMAGES / 4
        assert [Path(line["path"]).name for line in lines][-len(whole) :] == sorted(f"whole{kind}" for kind, _ in whole)


def test_damaged_zips_end_in_a_sentence(
    tmp_path: Path,
    cli: Cli,  # noqa: F811
    tiny_model: Path,  # noqa: F811
    little_memory: None,
) -> None:
    dice = random.Random(2)
    image = whole_images()[0][1]
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    whole = [whole_zip(method, "30_0_1_20170101.jpg", image) for method in methods]
    path = tmp_path / "data.zip"
    answered = 0
    for number in range(ZIPS):
        path.write_bytes(damaged(whole[number % len(whole)], dice))
        result = cli("evaluate", tiny_model, "--data", path, "--crops", "--folds", "all", "--threads", "1")
        assert result.code in (0, 1)
        assert result.code == 0 or "error: " in result.err
        answered += bool(result.out)
    assert answered > ZIPS / 10, "some were damaged where it does not matter"


def test_damaged_programs_end_in_a_sentence(tmp_path: Path, cli: Cli, little_memory: None) -> None:  # noqa: F811
    dice = random.Random(3)
    spec = tiny_spec().to_json().encode()
    path = tmp_path / "m.pt2"
    for number in range(PROGRAMS):
        text = damaged(spec, dice) if number % 2 else spec
        data = whole_zip(zipfile.ZIP_STORED, "m/extra/edgeface.spec", text)
        path.write_bytes(data if number % 2 else damaged(data, dice))
        result = cli("info", path, "--json")
        assert (result.code == 0 and json.loads(result.out)) or result.err.startswith("error: ")


def _encrypted(data: bytes) -> bytes:
    """``data`` with every entry marked as encrypted."""
    out = bytearray(data)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := out.find(signature, at + 1)) >= 0:
            out[at + offset] |= 1
    return bytes(out)


def _of_method(data: bytes, method: int) -> bytes:
    out = bytearray(data)
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = -1
        while (at := out.find(signature, at + 1)) >= 0:
            out[at + offset] = method
    return bytes(out)


@pytest.mark.parametrize("kind", ["encrypted", "unknown method", "bomb", "damaged"])
def test_one_bad_entry_never_ends_a_zip(
    tmp_path: Path,
    cli: Cli,  # noqa: F811
    tiny_model: Path,  # noqa: F811
    little_memory: None,
    kind: str,
) -> None:
    image = whole_images()[0][1]
    content = bytes(1 << 29) if kind == "bomb" else image
    bad = whole_zip(zipfile.ZIP_DEFLATED, "30_0_1_20170101.jpg", content)
    if kind == "encrypted":
        bad = _encrypted(bad)
    elif kind == "unknown method":
        bad = _of_method(bad, 97)
    elif kind == "damaged":
        middle = bad.index(b"PK\x03\x04") + 60
        bad = bad[:middle] + bytes(40) + bad[middle + 40 :]
    del content
    (tmp_path / "bad.zip").write_bytes(bad)
    (tmp_path / "good.zip").write_bytes(whole_zip(zipfile.ZIP_STORED, "31_0_1_20170102.jpg", image))
    result = cli("evaluate", tiny_model, "--data", tmp_path, "--crops", "--folds", "all", "--json", "-")
    assert result.code == 1
    assert result.json()["n"] >= 2, "the good zip's images"
    assert result.err.count("30_0_1_20170101.jpg") >= 1
    (tmp_path / "m.pt2").write_bytes(bad.replace(b"30_0_1_20170101.jpg", b"/extra/edgeface.spe"))
    assert cli("info", tmp_path / "m.pt2").err.startswith("error: `")
