from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.errors import ImageError, SinkError
from edgeface.imaging import image_io as images
from edgeface.imaging.image_io import decode_image, list_images, read_image, write_image
from edgeface.types import Image


def gradient(height: int = 40, width: int = 60) -> Image:
    """Red grows to the right, green downwards, blue stays: every orientation and channel order looks different."""
    pixels = np.full((height, width, 3), 60, np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width)[None]
    pixels[..., 1] = np.linspace(0, 255, height)[:, None]
    return pixels


def encode(pixels: np.ndarray, suffix: str) -> bytes:
    """Bytes of an RGB(A) or grey image of any depth."""
    bgr = pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    return cv2.imencode(suffix, np.ascontiguousarray(bgr))[1].tobytes()


def with_exif(data: bytes, orientation: int) -> bytes:
    """The same JPEG or PNG with an EXIF orientation."""
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + struct.pack("<HH", orientation, 0) + b"\0\0\0\0"
    if data.startswith(b"\x89PNG"):
        chunk = struct.pack(">I", len(tiff)) + b"eXIf" + tiff + struct.pack(">I", zlib.crc32(b"eXIf" + tiff))
        return data[:33] + chunk + data[33:]
    body = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".webp", ".jpg"])
def test_a_picture_comes_back_as_rgb(suffix: str) -> None:
    found = decode_image(encode(gradient(), suffix))
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    tolerance = 0 if suffix in (".png", ".bmp", ".tiff") else 12
    assert np.abs(found.astype(int) - gradient()).max() <= tolerance


def test_a_grey_picture_gets_three_equal_channels() -> None:
    grey = gradient()[..., 0]
    np.testing.assert_array_equal(decode_image(encode(grey, ".png")), np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled_to_eight(channels: int) -> None:
    deep = np.minimum(gradient().astype(np.uint32) * 257 + 100, 65535).astype(np.uint16)  # 100: rounded off again
    deep[0, 0] = 65535
    found = decode_image(encode(deep if channels == 3 else deep[..., 0], ".png"))
    wanted = gradient() if channels == 3 else np.repeat(gradient()[..., :1], 3, axis=2)
    assert found[0, 0].tolist() == [255, 255, 255]
    np.testing.assert_array_equal(found[1:], wanted[1:])


def test_an_alpha_channel_is_dropped_and_its_colours_stay() -> None:
    clear = np.dstack([gradient(), np.zeros((40, 60), np.uint8)])
    np.testing.assert_array_equal(decode_image(encode(clear, ".png")), gradient())


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(("orientation", "quarters"), [(3, 2), (6, -1), (8, 1)])
def test_exif_orientation_is_applied(orientation: int, quarters: int, deep: bool) -> None:
    stored = gradient().astype(np.uint16) * 257 if deep else gradient()
    found = decode_image(with_exif(encode(stored, ".png"), orientation))
    np.testing.assert_array_equal(found, np.rot90(gradient(), quarters))


def test_a_turned_jpeg_stands_upright(tmp_path: Path) -> None:
    path = tmp_path / "phone.jpg"
    path.write_bytes(with_exif(encode(gradient(), ".jpg"), 6))
    assert read_image(path).shape == (60, 40, 3)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (20, 20_000)])
def test_odd_sizes_are_read(height: int, width: int) -> None:
    assert decode_image(encode(gradient(height, width), ".png")).shape == (height, width, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@given(share=st.floats(0.05, 0.99))
def test_a_cut_off_file_is_refused(suffix: str, share: float) -> None:
    data = encode(gradient(), suffix)
    with pytest.raises(ImageError, match=r"`a` (is cut off: its (JPEG|PNG) data has no end|cannot be decoded)"):
        decode_image(data[: int(len(data) * share)], "a")


def test_the_end_of_a_thumbnail_does_not_hide_a_cut() -> None:
    data = encode(gradient(200, 300), ".jpg")
    thumbnail = b"Exif\0\0" + encode(gradient(8, 8), ".jpg")
    whole = data[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + data[2:]
    assert decode_image(whole).shape == (200, 300, 3)
    with pytest.raises(ImageError, match="is cut off"):
        decode_image(whole[:-200])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", r"`a.jpg` is empty \(0 bytes\), expected an image"),
        (b"Dear reader,\nthis is a letter.", "`a.jpg` cannot be decoded as an image: it holds text"),
        (b"\x00\x01\x02\x03" * 20, "its first bytes are 00 01 02 03 00 01 02 03, no known image format"),
        (b"BM" + b"\x07" * 60, "its data is damaged, copy or download it again"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, text: str) -> None:
    with pytest.raises(ImageError, match=text):
        decode_image(data, "a.jpg")


@given(st.binary(max_size=400), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM"]))
def test_any_bytes_give_a_picture_or_one_sentence(data: bytes, start: bytes) -> None:
    try:
        assert decode_image(start + data, "noise").ndim == 3
    except ImageError as error:
        assert str(error).startswith("`noise`") and "\n" not in str(error)


def test_decoding_failures_leave_stderr_alone(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImageError):
        decode_image(encode(gradient(), ".bmp")[:80])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_too_many_pixels_are_refused(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 2000)
    with pytest.raises(ImageError, match=r"`big` is too large: 60x40 pixels, expected at most 0 megapixels; scale"):
        decode_image(encode(gradient(), suffix), "big")


def test_a_giant_is_refused_before_it_is_decoded() -> None:
    size = struct.pack(">II", 60_000, 60_000) + b"\x08\x02\0\0\0"
    data = encode(gradient(), ".png")
    giant = data[:16] + size + struct.pack(">I", zlib.crc32(b"IHDR" + size)) + data[33:]
    with pytest.raises(ImageError, match="60000x60000 pixels, expected at most 134 megapixels"):
        decode_image(giant)


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(ImageError, match="`hdr.tiff` holds float32 values, expected 8 or 16 bits"):
        decode_image(encode(gradient().astype(np.float32), ".tiff"), "hdr.tiff")


def test_paths_that_hold_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no image at `.*none\.jpg`: no such file"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match="is a directory, expected an image file"):
        read_image(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match="cannot read image .*Not a directory"):
        read_image(tmp_path / "file" / "a.jpg")


def test_writing_keeps_the_picture(tmp_path: Path) -> None:
    write_image(tmp_path / "new" / "a.png", gradient())
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "a.png"), gradient())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]


def test_writing_says_why_it_cannot(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"expected a name ending in \.bmp, .*, found `\.gif`"):
        write_image(tmp_path / "a.gif", gradient())
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="cannot write .*a.png"):
        write_image(tmp_path / "file" / "a.png", gradient())


def test_listing_a_directory_sorts_pictures_and_leaves_the_rest(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "inner").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["a.png", "b.JPG"]
    assert list_images(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]


def test_listing_nothing_names_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no images in directory `.*`: expected files ending in \.bmp, \.jpeg"):
        list_images(tmp_path)
    with pytest.raises(ImageError, match=r"no image at `.*none`: no such file or directory"):
        list_images(tmp_path / "none")
