"""Frames as players show them: turned, mirrored, of square pixels, of standard range, in the right colours."""

from __future__ import annotations

import gc
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from edgeface.errors import SourceError
from edgeface.imaging.orientation import from_matrix
from edgeface.sources import network_stream
from edgeface.sources.base import SourceOptions
from edgeface.sources.ffmpeg import square_size
from edgeface.sources.frame_queue import Counters
from edgeface.sources.network_stream import Stream
from edgeface.sources.nvdec import _check_shown_as_stored
from edgeface.sources.open import open_source
from edgeface.types import Image
from tests.imaging.orientations import shown
from tests.pipeline.clips import quarters, write_clip

MATRICES = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}
"""a, b, c, d of ISO/IEC 14496-12, by EXIF's number of the same turn; those of FFmpeg's ``av_display_matrix_flip``."""


def turned_clip(path: Path, orientation: int) -> Path:
    """Frames whose track header says how they are shown."""
    write_clip(path, [quarters()] * 3)
    data = bytearray(path.read_bytes())
    a, b, c, d = MATRICES[orientation]
    at = data.find(b"tkhd") + 44  # version 0: flags, times, id, duration, layer … come before the matrix
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.fixture(autouse=True)
def whole_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams throw away what their probe has read, which is all of so short a clip."""
    monkeypatch.setattr(network_stream, "_options", lambda uri, options: {})


def streamed(path: Path) -> list[Image]:
    """The same file through the reader of network streams."""
    stream = Stream(str(path), SourceOptions(), Counters())
    try:
        return [shot.pixels for shot in stream.shots()]
    finally:
        stream.close()


@pytest.mark.parametrize("orientation", MATRICES)
def test_all_eight_turns_of_a_video_are_shown(tmp_path: Path, orientation: int) -> None:
    path = turned_clip(tmp_path / "phone.mp4", orientation)
    with open_source(path) as source:
        frames = [frame.pixels for frame in source]
    wanted = shown(quarters(), orientation)
    for pixels in (frames[0], streamed(path)[0]):
        assert pixels.shape == wanted.shape and pixels.flags.c_contiguous
        assert np.abs(pixels.astype(int) - wanted).mean() < 4


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", ["", "hflip", "vflip"])
def test_matrices_that_ffmpeg_writes_are_understood(tmp_path: Path, degrees: int, flip: str) -> None:
    """Counter-clockwise by PyAV's word, then mirrored."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this PyAV cannot write display matrices")
        stream.set_display_rotation(degrees, **({flip: True} if flip else {}))
        container.mux(stream.encode(av.VideoFrame.from_ndarray(quarters(), format="rgb24")))
        container.mux(stream.encode(None))
    wanted = np.rot90(quarters(), degrees // 90)
    wanted = wanted[:, ::-1] if flip == "hflip" else wanted[::-1] if flip == "vflip" else wanted
    with open_source(path) as source:
        pixels = next(iter(source)).pixels
    assert pixels.shape == wanted.shape and np.abs(pixels.astype(int) - wanted).mean() < 4


@pytest.mark.parametrize(
    ("degrees", "orientation"), [(0, 1), (10, 1), (80, 6), (100, 6), (170, 3), (-80, 8), (-100, 8)]
)
def test_other_angles_are_the_nearest_quarter(degrees: float, orientation: int) -> None:
    cos, sin = (round(65536 * value) for value in (np.cos(np.radians(degrees)), np.sin(np.radians(degrees))))
    assert from_matrix((cos, sin, 0, -sin, cos, 0, 0, 0, 1 << 30)) == orientation


def test_an_empty_matrix_turns_nothing() -> None:
    assert from_matrix((0,) * 9) == 1


def encoded(path: Path, frame: av.VideoFrame, codec: str = "ffv1", **settings: object) -> Path:
    """The frame three times, by default in FFV1, which loses nothing, with settings of the codec."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, frame.format.name
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        for number in range(3):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def grey_frame(width: int, height: int, layout: str, y: int, u: int, v: int) -> av.VideoFrame:
    """A frame of one YUV colour."""
    frame = av.VideoFrame(width, height, layout)
    for plane, value in zip(frame.planes, (y, u, v)):
        kind = np.uint16 if layout.endswith("le") else np.uint8
        plane.update(np.full(plane.buffer_size // np.dtype(kind).itemsize, value, kind).tobytes())
    return frame


@pytest.mark.parametrize(
    ("aspect", "size"), [((64, 45), (137, 64)), ((2, 1), (192, 64)), ((10, 11), (96, 70)), ((1, 1), (96, 64))]
)
def test_pixels_are_made_square(tmp_path: Path, aspect: tuple[int, int], size: tuple[int, int]) -> None:
    frame = av.VideoFrame.from_ndarray(quarters(), format="rgb24").reformat(format="yuv420p")
    path = encoded(tmp_path / "a.mp4", frame, "libx264", sample_aspect_ratio=Fraction(*aspect))
    with open_source(path) as source:
        pixels = next(iter(source)).pixels
    for found in (pixels, streamed(path)[0]):
        assert found.shape == (size[1], size[0], 3)
        assert found[: size[1] // 2 - 2, : size[0] // 2 - 2].min() > 200 and found[size[1] // 2 + 2 :].max() < 50


@pytest.mark.parametrize("aspect", [None, Fraction(0), Fraction(1, 1000), Fraction(1000)])
def test_a_pixel_of_no_sensible_shape_is_square(aspect: Fraction | None) -> None:
    assert square_size(96, 64, aspect) == (96, 64)


def test_pixels_are_made_square_before_they_are_turned(tmp_path: Path) -> None:
    frame = av.VideoFrame.from_ndarray(quarters(), format="rgb24").reformat(format="yuv420p")
    path = encoded(tmp_path / "a.mp4", frame, "libx264", sample_aspect_ratio=Fraction(2))
    wide = bytearray(path.read_bytes())
    at = wide.find(b"tkhd") + 44
    wide[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(wide)
    with open_source(path) as source:
        assert next(iter(source)).pixels.shape == (192, 64, 3)


@pytest.mark.parametrize(
    ("height", "colorspace", "bt709"), [(576, 2, False), (720, 2, True), (576, 1, True), (720, 5, False)]
)
def test_an_unstated_colour_matrix_is_bt709_from_hd_on(
    tmp_path: Path, height: int, colorspace: int, bt709: bool
) -> None:
    """Y 81, Cb 90, Cr 240: BT.601's red, which BT.709 shows brighter and more orange."""
    frame = grey_frame(128, height, "yuv420p", 81, 90, 240)
    path = encoded(tmp_path / "a.mkv", frame, colorspace=colorspace)
    with open_source(path) as source:
        found = next(iter(source)).pixels[8, 8].astype(int)
    luma, cb, cr = (81 - 16) * 255 / 219, (90 - 128) * 255 / 224, (240 - 128) * 255 / 224
    kr, kb = (0.2126, 0.0722) if bt709 else (0.299, 0.114)
    red, blue = luma + 2 * (1 - kr) * cr, luma + 2 * (1 - kb) * cb
    wanted = np.clip([red, (luma - kr * red - kb * blue) / (1 - kr - kb), blue], 0, 255)
    assert np.abs(found - wanted).max() <= 3


@pytest.mark.parametrize(("transfer", "signal"), [(16, 0.5807), (18, 0.75)])
def test_hdr_is_tone_mapped(tmp_path: Path, transfer: int, signal: float) -> None:
    """Diffuse white (203 cd/m², BT.2408) is grey when PQ or HLG is taken for gamma; here it is nearly white."""
    frame = grey_frame(96, 64, "yuv420p10le", round(64 + 876 * signal), 512, 512)
    path = encoded(tmp_path / "a.mkv", frame, color_trc=transfer, color_primaries=9, colorspace=9)
    with open_source(path) as source:
        found = next(iter(source)).pixels
    assert found.shape == (64, 96, 3) and found.min() > 210 and np.ptp(found) <= 2


def test_frames_beyond_the_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "a.mp4", [quarters()] * 2)
    monkeypatch.setenv("EDGEFACE_MAX_MEGAPIXELS", "0.005")
    with pytest.raises(
        SourceError, match=r"cannot open `.*a.mp4`: its frames are too large: 96x64 pixels, expected at"
    ):
        open_source(path)
    with pytest.raises(SourceError, match="its frames are too large: 96x64 pixels"):
        streamed(path)


def test_surfaces_are_only_of_what_is_shown_as_stored(tmp_path: Path) -> None:
    _check_shown_as_stored(str(turned_clip(tmp_path / "1.mp4", 1)))
    with pytest.raises(SourceError, match="has to be turned or mirrored, which surfaces on the GPU are not"):
        _check_shown_as_stored(str(turned_clip(tmp_path / "2.mp4", 2)))
    frame = grey_frame(96, 64, "yuv420p", 81, 90, 240)
    with pytest.raises(SourceError, match="has to be stretched to square pixels"):
        _check_shown_as_stored(str(encoded(tmp_path / "a.mp4", frame, "libx264", sample_aspect_ratio=Fraction(2))))
    with pytest.raises(SourceError, match="has to be tone-mapped from HDR"):
        _check_shown_as_stored(str(encoded(tmp_path / "b.mkv", frame, color_trc=16)))


def test_frames_are_freed_without_pythons_collector(tmp_path: Path) -> None:
    """Side data that is looked at makes a frame refer to itself; a stream's memory would then grow by leaps."""
    path = write_clip(tmp_path / "a.mp4", [quarters()] * 60)
    alive = 0
    gc.collect()
    gc.disable()
    try:
        with open_source(path) as source:
            for _ in source:
                pass
        alive = sum(type(one) is av.VideoFrame for one in gc.get_objects())
    finally:
        gc.enable()
    assert alive <= 4, "the first one, and what is still in hand, of 60"


def test_a_title_in_another_encoding_is_no_reason_to_fail(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "a film in Latin-1"
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(quarters(), format="rgb24")))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    assert b"a film in Latin-1" in data
    path.write_bytes(data.replace(b"a film in Latin-1", b"\xe9\xe8\xe0\xfc film Latin-1"))
    with open_source(path) as source:
        assert len(list(source)) == 1


def test_a_codec_that_is_unknown_is_named(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [quarters()] * 3)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz1").replace(b"avcC", b"zzzC"))
    with pytest.raises(SourceError, match=r"cannot open `.*a.mp4`: this FFmpeg has no decoder for its video"):
        open_source(path)
