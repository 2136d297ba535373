"""Decoding by the GPU's video engine (NVDEC): through FFmpeg for every source, and on the GPU without a copy.

``open_video`` is what sources of ``edgeface run`` use (``--decoder``): NVDEC decodes, the image comes to the host as
from the processor. ``surfaces`` keeps images on the GPU, in NV12, for ``GpuAnalyzer.analyze``:

    with GpuAnalyzer(...) as analyzer:
        for surface, pts_s in surfaces("clip.mp4"):
            faces, attributes = analyzer.analyze(surface)
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Iterator
from typing import Any

from edgeface.common.install import install
from edgeface.cuda.context import current_context
from edgeface.cuda.driver import Driver
from edgeface.cuda.pycuda_context import keep_context
from edgeface.errors import ConfigError, ImageError, MissingDependencyError, SourceError
from edgeface.gpu.device_frame import DeviceFrame, device_frame, device_plane
from edgeface.imaging.orientation import UPRIGHT
from edgeface.imaging.tone_mapping import HDR
from edgeface.sources import ffmpeg
from edgeface.sources.ffmpeg import BT709, HD_LINES, UNSPECIFIED, aspect_of, orientation_of

PACKAGES = ("pynvvideocodec", "pyav")
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG

log = logging.getLogger("edgeface.live")


def open_video(uri: str, name: str, decoder: str = "cpu", **settings: Any) -> Any:
    """An open PyAV container whose video is decoded as ``decoder`` says; ``settings`` are ``av.open``'s.

    ``decoder`` is one of ``sources.base.DECODERS``; "auto" takes NVDEC where there is an NVIDIA driver. Where NVDEC
    cannot be had, one line to the log says why and the processor decodes. Raises what ``av.open`` raises.
    """
    import av

    settings.setdefault("metadata_errors", "surrogateescape")  # titles are of any encoding
    if decoder == "cpu" or (decoder == "auto" and not Driver.installed()):
        return av.open(uri, **settings)
    reason = _missing()
    if reason is None:
        from av.codec.hwaccel import HWAccel

        try:
            container = av.open(uri, hwaccel=HWAccel("cuda", allow_software_fallback=True), **settings)
        except (av.FFmpegError, NotImplementedError, RuntimeError) as error:
            reason = f"FFmpeg cannot use NVDEC here ({ffmpeg.reason(error)})"
        else:
            video = container.streams.video
            if not video or video[0].codec_context.is_hwaccel:
                return container
            log.warning("%s: decoding on the CPU: NVDEC does not take %s", name, video[0].codec_context.name)
            return container
    log.warning("%s: decoding on the CPU: %s", name, reason)
    return av.open(uri, **settings)


def _missing() -> str | None:
    """What NVDEC through FFmpeg lacks on this machine."""
    try:
        from av.codec.hwaccel import hwdevices_available
    except ImportError:
        return "this PyAV knows no hardware decoders, install 15 or newer"
    if "cuda" not in hwdevices_available():
        return "the FFmpeg in this PyAV was built without CUDA"
    return None if Driver.installed() else "no NVIDIA driver here"


def surfaces(
    path: str | os.PathLike[str], index: int = 0, package: str | None = None
) -> Iterator[tuple[DeviceFrame, float | None]]:
    """The frames of a video file on GPU ``index``, decoded there, with their times in seconds.

    By NVIDIA's PyNvVideoCodec where it is installed, else by FFmpeg in PyAV; ``package`` (one of ``PACKAGES``) insists
    on one. A surface is valid until the next is asked for: decoders use their memory again.

    Surfaces are as stored. Raises ``SourceError`` for a video that players turn, stretch or tone-map, and for one that
    NVDEC does not take, ``BackendError`` without a GPU, ``MissingDependencyError`` where the package is missing or too
    old.
    """
    if package not in (None, *PACKAGES):
        raise ConfigError(f"package: expected one of {', '.join(PACKAGES)}, found `{package}`")
    Driver()
    _check_shown_as_stored(os.fspath(path))
    if package != "pyav":
        try:
            codec = importlib.import_module("PyNvVideoCodec")
        except ImportError as error:
            if package:
                raise MissingDependencyError(
                    "decoding on the GPU by PyNvVideoCodec needs it, which is not installed: "
                    + install("PyNvVideoCodec")
                ) from error
        else:
            return _by_pynvvideocodec(codec, os.fspath(path), index)
    return _by_pyav(os.fspath(path), index)


def _check_shown_as_stored(path: str) -> None:
    """Raise ``SourceError`` where the first frame's pixels are not what a player shows."""
    import av

    try:
        with av.open(path, metadata_errors="surrogateescape") as container:
            frame = next(container.decode(video=0))
            aspect = aspect_of(container.streams.video[0])
            turned, hdr = orientation_of(frame) != UPRIGHT, getattr(frame, "color_trc", UNSPECIFIED) in HDR
    except (av.FFmpegError, IndexError, StopIteration):  # the decoder reports what is wrong
        return
    what = "turned or mirrored" if turned else "tone-mapped from HDR" if hdr else "stretched to square pixels"
    if turned or hdr or (aspect or 1) != 1:
        raise SourceError(
            f"`{path}` has to be {what}, which surfaces on the GPU are not: read it with `open_source(path)`"
        )


def _by_pynvvideocodec(codec: Any, path: str, index: int) -> Iterator[tuple[DeviceFrame, float | None]]:
    try:
        decoder = codec.SimpleDecoder(
            path, gpu_id=index, use_device_memory=True, output_color_type=codec.OutputColorType.NATIVE
        )
        facts = decoder.get_stream_metadata()
    except Exception as error:  # its exceptions share no base class
        raise SourceError(f"NVDEC cannot decode `{path}`: {error}") from error
    for number in range(len(decoder)):
        frames = decoder.get_batch_frames(1)
        if not frames:
            return
        yield device_frame(frames[0], "nv12", bt709=facts.height >= HD_LINES), number / facts.average_fps


def _by_pyav(path: str, index: int) -> Iterator[tuple[DeviceFrame, float | None]]:
    import av

    try:
        from av.codec.hwaccel import HWAccel

        # FFmpeg would take the primary context only with flags that are its own, so it gets the one that is current.
        accelerator = HWAccel(
            "cuda", device=str(index), is_hw_owned=True, options={"primary_ctx": "0", "current_ctx": "1"}
        )
    except (ImportError, TypeError) as error:
        raise MissingDependencyError(f"decoding on the GPU needs PyAV 17 or newer: {install('av>=17')}") from error
    keep_context(index)  # FFmpeg does not hold the context that it is given
    try:
        with current_context(index):
            container = av.open(path, hwaccel=accelerator, metadata_errors="surrogateescape")
    except (av.FFmpegError, NotImplementedError, RuntimeError) as error:
        raise SourceError(f"NVDEC cannot decode `{path}`: {str(error).lower()}") from error
    with container:
        for frame in container.decode(video=0):
            yield surface_of(frame), frame.time


def surface_of(frame: Any) -> DeviceFrame:
    """PyAV's frame that is on the GPU. Raises ``ImageError`` for one that is not, or has more than 8 bits."""
    try:
        luma, chroma = (device_plane(plane) for plane in frame.planes)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ImageError(f"expected a frame in NV12 on the GPU, found {frame.format.name} ({error})") from error
    if luma.stride != chroma.stride:
        raise ImageError(f"expected rows of Y and of Cb and Cr of one length, found {luma.stride} and {chroma.stride}")
    bt709 = frame.colorspace == BT709 or (frame.colorspace == UNSPECIFIED and frame.height >= HD_LINES)
    return DeviceFrame(
        luma.address,
        frame.width,
        frame.height,
        luma.stride,
        "nv12",
        bt709,
        frame.color_range == _FULL_RANGE,
        (frame, luma.owner, chroma.owner),
        chroma.address,
        luma.stream,
    )
