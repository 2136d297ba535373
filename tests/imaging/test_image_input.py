"""Every way to hold an image: taken for what it is, or refused by a sentence that names the fix."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeface.errors import ConfigError, ImageError
from edgeface.imaging.image_input import as_rgb
from edgeface.imaging.image_io import write_image
from edgeface.types import Frame
from tests.imaging.test_image_io import encode, gradient

RGB = gradient()
GREY = np.repeat(RGB[..., :1], 3, axis=2)


def test_an_rgb_array_is_handed_through() -> None:
    assert as_rgb(RGB) is RGB
    assert as_rgb(Frame(RGB)) is RGB


def test_what_opencv_reads_is_right_when_its_order_is_named(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", RGB)
    for flags in (cv2.IMREAD_COLOR, cv2.IMREAD_UNCHANGED):
        np.testing.assert_array_equal(as_rgb(cv2.imread(str(tmp_path / "a.png"), flags), "BGR"), RGB)
    np.testing.assert_array_equal(as_rgb(cv2.cvtColor(RGB, cv2.COLOR_RGB2BGRA), "bgr"), RGB)
    np.testing.assert_array_equal(as_rgb(RGB[..., ::-1], "BGR"), RGB)


@pytest.mark.parametrize(
    ("array", "wanted", "tolerance"),
    [
        (RGB[..., 0], GREY, 0),
        (RGB[..., :1], GREY, 0),
        (np.dstack([RGB, np.zeros(RGB.shape[:2], np.uint8)]), RGB, 0),
        (RGB.astype(np.uint16) * 257, RGB, 0),
        (RGB[..., 0].astype(np.uint16) * 257, GREY, 0),
        (RGB.astype(np.float32) / 255, RGB, 0),
        (RGB.astype(np.float64) / 255, RGB, 0),
        (RGB.astype(np.float16) / 255, RGB, 1),
        (RGB[::-1, ::2], RGB[::-1, ::2], 0),
    ],
    ids=["grey", "one channel", "alpha", "16 bits", "grey of 16 bits", "float", "double", "half", "a view"],
)
@pytest.mark.parametrize("colour", ["RGB", "BGR"])
def test_arrays_of_other_kinds_are_taken_for_what_they_are(
    array: np.ndarray, wanted: np.ndarray, tolerance: int, colour: str
) -> None:
    given = array[..., [2, 1, 0, 3][: array.shape[2]]] if colour == "BGR" and array.shape[2:] > (1,) else array
    found = as_rgb(given, colour)
    assert found.dtype == np.uint8 and found.shape == wanted.shape
    assert np.abs(found.astype(int) - wanted).max() <= tolerance


def test_files_bytes_and_open_files_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_image(path, RGB)
    data = path.read_bytes()
    for given in (path, str(path), data, bytearray(data), memoryview(data)):
        np.testing.assert_array_equal(as_rgb(given), RGB)
        np.testing.assert_array_equal(as_rgb(given, "BGR"), RGB, "a decoded image knows its order")
    np.testing.assert_array_equal(as_rgb(io.BytesIO(data)), RGB)
    with path.open("rb") as file:
        np.testing.assert_array_equal(as_rgb(file), RGB)
    with (
        path.open("r", encoding="latin-1") as text,
        pytest.raises(ImageError, match=r"a.png`: it is open as text, open"),
    ):
        as_rgb(text)
    with path.open("ab") as output, pytest.raises(ImageError, match="cannot read image"):
        as_rgb(output)


def test_pil_images_are_taken_as_pil_shows_them() -> None:
    pil = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    image = pil.fromarray(RGB)
    np.testing.assert_array_equal(as_rgb(image), RGB)
    np.testing.assert_array_equal(as_rgb(image, "BGR"), RGB, "it knows its order")
    for mode in ("RGBA", "L", "LA", "P", "1", "CMYK", "YCbCr"):
        converted = image.convert(mode)
        np.testing.assert_array_equal(as_rgb(converted), np.asarray(converted.convert("RGB")))
    np.testing.assert_array_equal(as_rgb(pil.fromarray(RGB[..., 0].astype(np.uint16) * 257)), GREY)
    with pytest.raises(ImageError, match="expected a PIL image of 8 bits, found mode F"):
        as_rgb(image.convert("F"))
    cut = pil.open(io.BytesIO(encode(np.kron(RGB, np.ones((9, 9, 1), np.uint8)), ".jpg")[:3000]))
    with pytest.raises(ImageError, match="PIL cannot decode the image"):
        as_rgb(cut)


class Tensor:
    """As PyTorch names its own."""


Tensor.__module__ = "torch"


@pytest.mark.parametrize(
    ("given", "fix"),
    [
        (None, "cv2.imread gives for a file that it cannot read, pass the path itself"),
        (np.zeros((2, 8, 8, 3), np.uint8), "one image at a time, call it for each of the batch"),
        ([RGB, RGB], "pass one image at a time"),
        (RGB.transpose(2, 0, 1), r"its channels come first, pass `image.transpose\(1, 2, 0\)`"),
        (np.zeros((8, 8, 2), np.uint8), r"found uint8 \[8, 8, 2\]"),
        (np.zeros(8, np.uint8), r"found uint8 \[8\]"),
        (np.zeros((0, 8, 3), np.uint8), "with at least one pixel"),
        (RGB.astype(np.int64), r"found int64 .* pass `image.astype\(np.uint8\)` if they are that"),
        (RGB > 9, r"found bool .* pass `image.astype\(np.uint8\)`"),
        (RGB.astype(np.float32), r"expected float32 values 0…1, found 0…255: pass `image.astype\(np.uint8\)`"),
        (np.full((8, 8, 3), np.nan), "found values that are no numbers"),
        (np.full((8, 8, 3), -0.5), "found -0.5…-0.5"),
        (np.zeros((8, 8, 3), object), "found object"),
        (Tensor(), r"a torch.Tensor: pass `tensor.permute\(1, 2, 0\).cpu\(\).numpy\(\)`"),
        (cv2.UMat(RGB), r"a cv2.UMat: pass `image.get\(\)`"),
        (7, "expected an image: an array .* found int"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_image_is_refused_by_a_sentence_with_the_fix(given: Any, fix: str) -> None:
    with pytest.raises(ImageError, match=fix) as caught:
        as_rgb(given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("colour", ["", "grb", None, 3])
def test_another_order_is_named(colour: Any) -> None:
    with pytest.raises(ConfigError, match="colour: expected one of RGB, BGR, found"):
        as_rgb(RGB, colour)


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            admitted = path != "/me.png" or self.headers["Authorization"] == "Basic bWU6c2UgY3JldA=="  # me:se cret
            path = "/a.png" if path == "/me.png" and admitted else path
            self.send_response(200 if path in ("/a.png", "/endless") else 404)
            self.end_headers()
            if path == "/a.png":
                self.wfile.write(encode(RGB, ".png"))
            while path == "/endless":
                try:
                    self.wfile.write(bytes(1 << 16))
                except OSError:
                    return

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()
        thread.join()


def test_a_url_is_read_up_to_the_limit(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    np.testing.assert_array_equal(as_rgb(f"{server}/a.png?key=secret"), RGB)
    np.testing.assert_array_equal(as_rgb(f"{server}/me.png".replace("//", "//me:se%20cret@")), RGB)
    with pytest.raises(ImageError, match=r"cannot read image `http://127.*/none.png`: Not Found") as caught:
        as_rgb(f"{server}/none.png?key=secret")
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("EDGEFACE_MAX_MEGAPIXELS", "1")
    with pytest.raises(ImageError, match="endless` is too large: more than 4 MB"):
        as_rgb(f"{server}/endless")
    with pytest.raises(ImageError, match="cannot read image `http://127.0.0.1:9/a.png`: .*refused"):
        as_rgb("http://me:secret@127.0.0.1:9/a.png")
