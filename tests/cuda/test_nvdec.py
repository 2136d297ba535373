"""Decoding on the GPU, as far as it goes without one: who decodes instead and says so, and surfaces read in place."""

from __future__ import annotations

import logging
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeface.cuda.context import Context, PinnedBuffer
from edgeface.cuda.transfers import NO_UPLOAD
from edgeface.errors import BackendError, ConfigError, ImageError, MissingDependencyError, SourceError
from edgeface.imaging.image_io import read_image
from edgeface.pipeline.demo_clip import make_demo_clip
from edgeface.sources import nvdec as source_nvdec
from edgeface.sources.base import SourceOptions
from edgeface.sources.nvdec import surface_of, surfaces
from edgeface.sources.open import open_source, open_sources
from tests.cli.conftest import Cli, cli  # noqa: F401
from tests.cuda.pipelines import PORTRAITS, by_cpu, open_pipeline
from tests.cuda.test_device import EmulatedDriver, NoDriver
from tests.cuda.test_frames import Capsule, Interface


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    make_demo_clip(path, seconds=0.2, size=(160, 96))
    return path


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("driver", "decoder", "reason"),
    [
        (NoDriver, "cpu", None),
        (NoDriver, "auto", None),
        (NoDriver, "nvdec", "no NVIDIA driver here"),
        (EmulatedDriver, "cpu", None),
        (EmulatedDriver, "auto", "FFmpeg cannot use NVDEC here"),
        (EmulatedDriver, "nvdec", "FFmpeg cannot use NVDEC here"),
    ],
)
def test_the_processor_decodes_instead_and_one_line_says_why(
    clip: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    driver: type,
    decoder: str,
    reason: str | None,
) -> None:
    monkeypatch.setattr(source_nvdec, "Driver", driver)
    with open_source(clip) as wanted, open_source(clip, SourceOptions(decoder=decoder)) as found:
        for one, other in zip(wanted, found, strict=True):
            np.testing.assert_array_equal(one.pixels, other.pixels)
    lines = lines_of(caplog)
    assert len(lines) == (reason is not None)
    assert all(f"{clip}: decoding on the CPU: {reason}" in line for line in lines)


def test_files_of_a_glob_are_decoded_alike(clip: Path, caplog: pytest.LogCaptureFixture) -> None:
    (source,) = open_sources([str(clip.parent / "*.mp4")], SourceOptions(decoder="nvdec"))
    assert len(list(source)) == 5
    assert len(lines_of(caplog)) == 1


def test_the_command_says_who_decodes(cli: Cli, clip: Path) -> None:  # noqa: F811
    result = cli("run", clip, "--decoder", "nvdec", "--max-frames", "1")
    assert result.code == 0 and "decoding on the CPU: no NVIDIA driver here" in result.err
    wrong = cli("run", clip, "--decoder", "magic")
    assert wrong.code == 1 and "decoder: expected one of auto, cpu, nvdec, found `magic`" in wrong.err


@pytest.mark.parametrize(
    ("colorspace", "height", "color_range", "bt709", "full"),
    [(1, 480, 1, True, False), (5, 1080, 2, False, True), (2, 720, 0, True, False), (2, 576, 1, False, False)],
)
def test_a_surface_of_ffmpeg_is_read_where_it_lies(
    colorspace: int, height: int, color_range: int, bt709: bool, full: bool
) -> None:
    planes = (Capsule((height, 640), (704, 1)), Capsule((height // 2, 320, 2), (704, 2, 1)))
    frame = types.SimpleNamespace(
        planes=planes, width=640, height=height, colorspace=colorspace, color_range=color_range
    )
    surface = surface_of(frame)
    assert (surface.layout, surface.stride, surface.width, surface.height) == ("nv12", 704, 640, height)
    assert (surface.address, surface.chroma, surface.stream) == (4160, 4160, 1)
    assert (surface.bt709, surface.full_range) == (bt709, full)
    assert surface.owner[0] is frame


def test_a_frame_on_the_host_is_no_surface(clip: Path) -> None:
    import av

    with av.open(str(clip)) as container:
        frame = next(container.decode(video=0))
    with pytest.raises(ImageError, match="expected a frame in NV12 on the GPU, found yuv420p"):
        surface_of(frame)
    with pytest.raises(ImageError, match="found one in the host's memory"):
        surface_of(frame.reformat(format="nv12"))


def codec(picture: np.ndarray, context: Context) -> Any:
    """PyNvVideoCodec as documented, with one surface in the emulated GPU's memory."""
    import cv2

    height, width = picture.shape[:2]
    planar = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)
    pinned = PinnedBuffer(context, planar.nbytes, mapped=True)
    pinned.array[:] = np.concatenate([planar[:height].ravel(), planar[height:].reshape(2, -1).T.ravel()])
    surface = Interface((height * 3 // 2, width))
    surface.__cuda_array_interface__["data"] = (pinned.address, False)

    class SimpleDecoder:
        def __init__(self, path: str, gpu_id: int, use_device_memory: bool, output_color_type: object) -> None:
            if not Path(path).is_file():
                raise RuntimeError("cannot open")
            assert use_device_memory and output_color_type == "native"

        def __len__(self) -> int:
            return 3

        def get_stream_metadata(self) -> Any:
            return types.SimpleNamespace(average_fps=25.0, height=height)

        def get_batch_frames(self, count: int) -> list[Any]:
            return [surface] * count

    module = types.ModuleType("PyNvVideoCodec")
    module.__dict__.update(SimpleDecoder=SimpleDecoder, OutputColorType=types.SimpleNamespace(NATIVE="native"))
    return module


def test_decoded_surfaces_enter_the_pipeline_without_a_copy(
    context: Context, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = np.ascontiguousarray(read_image(PORTRAITS[0])[:512:2, :512:2])
    monkeypatch.setattr(source_nvdec, "Driver", EmulatedDriver)
    monkeypatch.setitem(sys.modules, "PyNvVideoCodec", codec(picture, context))
    pipeline, wanted = open_pipeline(context), by_cpu(picture)
    times = []
    for surface, pts_s in surfaces(clip):
        found = pipeline(surface)
        NO_UPLOAD.check(context.ledger.frames[-1])
        np.testing.assert_allclose(found[0].boxes, wanted[0].boxes, atol=1)
        np.testing.assert_allclose(found[1].age, wanted[1].age, atol=1.5)
        times.append(pts_s)
    assert times == [0, 0.04, 0.08]
    with pytest.raises(SourceError, match=r"NVDEC cannot decode `none\.mp4`: cannot open"):
        next(surfaces("none.mp4"))


def test_what_is_missing_is_named(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_nvdec, "Driver", NoDriver)
    with pytest.raises(BackendError, match="no NVIDIA GPU with its driver here"):
        surfaces(clip)
    monkeypatch.setattr(source_nvdec, "Driver", EmulatedDriver)
    with pytest.raises(MissingDependencyError, match="pip install PyNvVideoCodec"):
        surfaces(clip, package="pynvvideocodec")
    with pytest.raises(ConfigError, match="package: expected one of pynvvideocodec, pyav, found `ffmpeg`"):
        surfaces(clip, package="ffmpeg")
