from __future__ import annotations

import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.errors import ConfigError, ImageError, SinkError
from edgeface.imaging import image_io as images
from edgeface.imaging.image_header import Header
from edgeface.imaging.image_io import decode_image, list_images, read_image, write_image
from edgeface.types import Image
from tests.imaging.orientations import oriented, shown


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


def encode_if_possible(pixels: np.ndarray, suffix: str) -> bytes:
    """The same; skips where this OpenCV lacks the codec."""
    try:
        return encode(pixels, suffix)
    except cv2.error:
        pytest.skip(f"this OpenCV cannot encode {suffix}")


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


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff", ".avif"])
def test_all_eight_orientations_are_applied(suffix: str, orientation: int) -> None:
    found = decode_image(oriented(encode_if_possible(gradient(), suffix), orientation))
    wanted = shown(gradient(), orientation)
    assert found.shape == wanted.shape and found.flags.c_contiguous
    assert np.abs(found.astype(int) - wanted).max() <= (0 if suffix in (".png", ".tiff") else 12)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_deep_images_are_turned_as_well(suffix: str, orientation: int) -> None:
    data = oriented(encode(gradient().astype(np.uint16) * 257, suffix), orientation)
    np.testing.assert_array_equal(decode_image(data), shown(gradient(), orientation))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_turns_nothing(orientation: int) -> None:
    np.testing.assert_array_equal(decode_image(oriented(encode(gradient(), ".png"), orientation)), gradient())


def test_a_turned_jpeg_stands_upright(tmp_path: Path) -> None:
    path = tmp_path / "phone.jpg"
    path.write_bytes(oriented(encode(gradient(), ".jpg"), 6))
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
        (b"BM" + bytes(60), "`a.jpg` cannot be decoded as an image: its data is damaged, copy or download it again"),
        (b"\0\0\0\x18ftypheic" + bytes(60), "it is a HEIC file, convert it to JPEG or AVIF"),
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


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tiff", ".gif", ".avif", ".jp2", ".ppm"])
def test_too_many_pixels_are_refused_by_the_one_setting(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode_if_possible(gradient(), suffix)
    monkeypatch.setenv("EDGEFACE_MAX_MEGAPIXELS", "0.002")
    with pytest.raises(
        ImageError,
        match=r"`big` is too large: 60x40 pixels, expected at most 0.002 megapixels; scale .* raise EDGEFACE",
    ):
        decode_image(data, "big")


def test_too_many_bytes_are_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "big.png").open("wb") as file:
        file.truncate(1 << 40)
    monkeypatch.setenv("EDGEFACE_MAX_MEGAPIXELS", "1")
    with pytest.raises(ImageError, match=r"big.png` is too large: more than 4 MB; scale it down first or raise"):
        read_image(tmp_path / "big.png")


@pytest.mark.parametrize("value", ["a lot", "0", "-1", "nan", "1e9"])
def test_a_limit_that_is_no_number_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFACE_MAX_MEGAPIXELS", value)
    with pytest.raises(ConfigError, match="EDGEFACE_MAX_MEGAPIXELS: expected a number of megapixels above 0 and up to"):
        images.max_pixels()


def giants() -> dict[str, bytes]:
    """A few bytes each, of which a decoder makes gigabytes."""
    png, size = encode(gradient(), ".png"), struct.pack(">II", 60_000, 60_000) + b"\x08\x02\0\0\0"
    ihdr = size + struct.pack(">I", zlib.crc32(b"IHDR" + size))
    second = struct.pack(">I4sII", 13, b"IHDR", 4, 4) + b"\x08\x02\0\0\0" + bytes(4)
    bmp = bytearray(encode(gradient(), ".bmp"))[:1080]
    bmp[18:26], bmp[30:34] = struct.pack("<ii", 45_000, 45_000), struct.pack("<I", 1)
    webp = b"RIFF\x1e\0\0\0WEBPVP8L\x11\0\0\0\x2f" + struct.pack("<I", 0x3FFF | 0x3FFF << 14) + bytes(13)
    tiff = b"II*\0\x08\0\0\0\x02\0" + struct.pack("<HHIIHHII", 256, 4, 1, 60_000, 257, 4, 1, 60_000)
    return {
        "PNG": png[:16] + ihdr + png[33:],
        "PNG with a second header": png[:16] + ihdr + second + png[33:],
        "BMP": bytes(bmp),
        "WebP": webp,
        "TIFF": tiff,
        "GIF": b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0, 0, 0) + b";",
        "JPEG 2000": b"\xff\x4f\xff\x51\0\x29\0\0"
        + struct.pack(">8I", 60_000, 60_000, 0, 0, 60_000, 60_000, 0, 0)
        + b"\0\x03"
        + b"\x07\1\1" * 3
        + b"\xff\xd9",
        "PNM": b"P6 60000 60000 255\n" + bytes(30),
    }


@pytest.mark.parametrize("kind", giants())
def test_a_giant_is_refused_before_it_is_decoded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_decode_bgr", lambda data: pytest.fail("it was handed to a decoder"))
    with pytest.raises(ImageError, match=r"\d{5}x\d{5} pixels, expected at most 100 megapixels"):
        decode_image(giants()[kind])


def test_opencv_has_the_limit_too() -> None:
    assert os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] == "100000000"


def test_deep_pixels_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(gradient().astype(np.float32), ".tiff")
    monkeypatch.setattr(images, "_decode_bgr", lambda data: pytest.fail("it was handed to a decoder"))
    with pytest.raises(ImageError, match="`hdr.tiff` holds values of 32 bits, expected 8 or 16 bits"):
        decode_image(data, "hdr.tiff")


@pytest.mark.parametrize("depth", [10, 12])
def test_avif_of_more_bits_keeps_its_white(depth: int) -> None:
    encode_if_possible(gradient(), ".avif")
    deep = np.full((40, 60, 3), (1 << depth) - 1, np.uint16)
    options = [cv2.IMWRITE_AVIF_DEPTH, depth, cv2.IMWRITE_AVIF_QUALITY, 100]
    found = decode_image(cv2.imencode(".avif", deep, options)[1].tobytes())
    assert found.min() >= 253


@pytest.mark.parametrize("data", [b"P6 2 2 1023\n" + b"\x03\xff" * 12, b"P6 2 2 100\n" + b"\x64" * 12])
def test_a_pnm_of_any_depth_keeps_its_white(data: bytes) -> None:
    assert (decode_image(data) == 255).all()


def test_sixteen_bits_take_no_copy_of_more_than_their_own_size() -> None:
    """In tracemalloc's figures, NumPy's and OpenCV's arrays included."""
    deep = np.full((1000, 1000, 3), 30_000, np.uint16)
    header = Header("PNG", (1000, 1000))
    tracemalloc.start()
    try:
        images._to_rgb(deep, header, "deep")
        assert tracemalloc.get_traced_memory()[1] < 1.1 * deep.nbytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("transfer", "kind"), [(16, "PQ"), (18, "HLG")])
def test_an_hdr_image_is_tone_mapped(transfer: int, kind: str) -> None:
    """A PNG of 16 bits whose ``cICP`` says so: white at 203 cd/m² becomes nearly white instead of grey."""
    code = {"PQ": 0.5807, "HLG": 0.75}[kind]
    data = encode(np.full((8, 8, 3), round(65535 * code), np.uint16), ".png")
    chunk = b"cICP" + bytes([9, transfer, 0, 1])
    found = decode_image(data[:33] + struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:])
    assert found.min() > 210 and found.max() - found.min() <= 1


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
    with pytest.raises(SinkError, match=r"expected a name ending in \.avif, \.bmp, .*, found `\.gif`"):
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
    with pytest.raises(ImageError, match=r"no images in directory `.*`: expected files ending in \.avif, \.bmp"):
        list_images(tmp_path)
    with pytest.raises(ImageError, match=r"no image at `.*none`: no such file or directory"):
        list_images(tmp_path / "none")
