"""Decoding by the GPU's video engine: the processor's images, and surfaces that the pipeline reads in place.

Skipped, with the reason, where there is no GPU or FFmpeg cannot use NVDEC (containers often lack libnvcuvid).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeface.cuda.context import Context, PinnedBuffer
from edgeface.cuda.stream import Stream
from edgeface.errors import EdgefaceError
from edgeface.pipeline.demo_clip import make_demo_clip
from edgeface.sources.nvdec import PACKAGES, open_video, surfaces

pytestmark = pytest.mark.gpu

SIZE = (640, 352)


@pytest.fixture(scope="module", autouse=True)
def gpu() -> None:
    try:
        Context().close()
    except EdgefaceError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    make_demo_clip(path, seconds=1, size=SIZE)
    return path


def luma(clip: Path, decoder: str) -> np.ndarray:
    """Y of all frames, uint8 ``[N, H, W]``."""
    with open_video(str(clip), "clip", decoder) as container:
        if decoder == "nvdec" and not container.streams.video[0].codec_context.is_hwaccel:
            pytest.skip("FFmpeg cannot use NVDEC here")
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    return np.stack(frames)


def test_the_video_engine_decodes_what_the_processor_does(clip: Path) -> None:
    wanted, found = luma(clip, "cpu"), luma(clip, "nvdec")
    assert found.shape == wanted.shape
    assert np.abs(found.astype(int) - wanted).max() <= 2


@pytest.mark.parametrize("package", PACKAGES)
def test_surfaces_hold_the_picture(clip: Path, package: str) -> None:
    wanted = luma(clip, "cpu").astype(int)
    with Context() as context:
        stream, rows = Stream(context), PinnedBuffer(context, SIZE[0])
        try:
            count = 0
            for surface, _ in surfaces(clip, package=package):
                assert (surface.width, surface.height, surface.layout) == (*SIZE, "nv12")
                if surface.stream is not None:
                    stream.wait_for(surface.stream)
                middle = SIZE[1] // 2
                stream.download(rows, surface.address + middle * surface.stride, SIZE[0])
                stream.synchronize()
                assert np.abs(rows.array.astype(int) - scaled(wanted[count, middle])).max() <= 4
                count += 1
        except EdgefaceError as error:
            pytest.skip(str(error))
    assert count == len(wanted)


def scaled(grey: np.ndarray) -> np.ndarray:
    """Full-range grey, as FFmpeg gives it, as the video's 16…235."""
    return np.rint(16 + grey * 219 / 255)
