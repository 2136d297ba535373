"""Whatever a caller holds an image in, as uint8 ``[H, W, 3]`` RGB: the one door of the public calls that take images.

| given                                  | taken as                                                           |
|----------------------------------------|--------------------------------------------------------------------|
| path, ``http(s)://`` URL, bytes, file  | decoded, upright; a URL's answer is limited like a file            |
| ``PIL.Image``                          | its pixels as PIL shows them (``ImageOps.exif_transpose`` turns)   |
| ``Frame``                              | its pixels                                                         |
| array uint8 ``[H, W, 3]``, ``[H, W, 4]``| in the order that ``colour`` names, the alpha channel dropped      |
| array ``[H, W]``, ``[H, W, 1]``        | grey                                                               |
| array uint16                           | 0…65535 scaled down                                                |
| array float                            | 0…1, as matplotlib and scikit-image hold it                        |

An array does not say its channels' order. It is RGB, as PIL and edgeface read; OpenCV's ``cv2.imread`` gives BGR.
Anything else is an ``ImageError`` that names the fix.
"""

from __future__ import annotations

import base64
import os
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from edgeface.errors import ConfigError, ImageError
from edgeface.imaging.image_io import decode_image, max_bytes, read_image
from edgeface.types import Frame, Image

COLOURS = ("RGB", "BGR")
_PATIENCE_S = 15.0
_ROUNDING = 1e-3
_EXPECTED = "expected an image: an array [H, W, 3], a path, a URL, bytes, an open file or a PIL image"


def as_rgb(image: Any, colour: str = "RGB") -> Image:
    """``image`` as uint8 ``[H, W, 3]`` RGB; an array of that kind is handed through without a copy.

    ``colour`` ("RGB" or "BGR") is the order of an array's channels. Raises ``ImageError`` for what is no image,
    ``ConfigError`` for another order.
    """
    order = checked_colour(colour)
    if isinstance(image, np.ndarray):
        return _from_array(image, order)
    if isinstance(image, Frame):
        return image.pixels
    if isinstance(image, str) and urlsplit(image).scheme.lower() in ("http", "https"):
        return _from_url(image)
    if isinstance(image, (str, os.PathLike)):
        return read_image(image)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return decode_image(bytes(image), "image")
    if type(image).__module__.partition(".")[0] == "PIL" and hasattr(image, "convert"):
        return _from_pil(image)
    if callable(getattr(image, "read", None)):
        return _from_file(image)
    raise ImageError(f"{_EXPECTED}, found {_described(image)}")


def checked_colour(colour: str) -> str:
    """``colour`` in capitals. Raises ``ConfigError`` unless it is one of ``COLOURS``."""
    order = colour.upper() if isinstance(colour, str) else ""
    if order not in COLOURS:
        raise ConfigError(f"colour: expected one of {', '.join(COLOURS)}, found `{colour}`")
    return order


def _from_array(array: NDArray[Any], order: str) -> Image:
    import cv2

    _check_shape(array)
    if array.dtype != np.uint8:
        array = _as_bytes(array)
    channels = 1 if array.ndim == 2 else array.shape[2]
    if channels == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    if channels == 4:
        array = array[..., :3]
    if order == "BGR":
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(array), cv2.COLOR_BGR2RGB), np.uint8)
    return np.ascontiguousarray(array) if channels == 4 else array


def _check_shape(array: NDArray[Any]) -> None:
    """Raise ``ImageError`` unless the shape is an image's."""
    found = f"found {array.dtype} {list(array.shape)}"
    wanted = "expected an image [H, W, 3], [H, W, 4] or [H, W]"
    if 0 in array.shape:
        raise ImageError(f"{wanted} with at least one pixel, {found}")
    if array.ndim == 4:
        raise ImageError(f"{wanted}, {found}: one image at a time, call it for each of the batch")
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        raise ImageError(f"{wanted}, {found}: its channels come first, pass `image.transpose(1, 2, 0)`")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(f"{wanted}, {found}")


def _as_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Deeper values scaled to 0…255, rounded."""
    import cv2

    if array.dtype == np.uint16:
        flat = np.ascontiguousarray(array).reshape(array.shape[0], -1)
        return np.asarray(cv2.convertScaleAbs(flat, alpha=1 / 257), np.uint8).reshape(array.shape)
    if array.dtype.kind != "f":
        raise ImageError(
            f"expected uint8 values 0…255, found {array.dtype} {list(array.shape)}: pass `image.astype(np.uint8)` if "
            "they are that"
        )
    low, high = float(array.min()), float(array.max())
    if not -_ROUNDING <= low <= high <= 1 + _ROUNDING:
        what = "values that are no numbers" if np.isnan(low) or np.isnan(high) else f"{low:g}…{high:g}"
        raise ImageError(
            f"expected {array.dtype} values 0…1, found {what}: pass `image.astype(np.uint8)` if they are 0…255"
        )
    scaled: NDArray[np.uint8] = np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
    return scaled


def _from_pil(image: Any) -> Image:
    if image.mode.startswith("I;16"):
        return _from_array(np.asarray(image).astype(np.uint16), "RGB")
    if image.mode in ("I", "F"):
        raise ImageError(f"expected a PIL image of 8 bits, found mode {image.mode}: pass it as an array 0…1 or uint8")
    try:
        return np.array(image.convert("RGB"), np.uint8)
    except (OSError, ValueError, SyntaxError) as error:  # PIL decodes on use
        raise ImageError(f"PIL cannot decode the image: {error}") from error


def _from_file(file: Any) -> Image:
    name = str(getattr(file, "name", "") or "image")
    try:
        data = file.read(max_bytes() + 1)
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot read image `{name}`: {error}") from error
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise ImageError(f"cannot read image `{name}`: it is open as text, open it with `open(path, 'rb')`")
    return decode_image(bytes(data), name)


def _from_url(url: str) -> Image:
    """The image that a server answers with. Its name in messages has neither user nor query, which may be secret."""
    import http.client
    from urllib.request import Request, urlopen

    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    name = parts._replace(netloc=host, query="", fragment="").geturl()
    request = Request(parts._replace(netloc=host, fragment="").geturl())
    if user:
        basic = base64.b64encode(unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {basic}")
    try:
        with urlopen(request, timeout=_PATIENCE_S) as answer:
            data = answer.read(max_bytes() + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ImageError(f"cannot read image `{name}`: {getattr(error, 'reason', None) or error}") from error
    return decode_image(data, name)


def _described(image: Any) -> str:
    """What was found, and what to do about what is often found."""
    if image is None:
        return "None: that is what cv2.imread gives for a file that it cannot read, pass the path itself"
    module, kind = type(image).__module__.partition(".")[0], type(image).__name__
    if module == "torch":
        return "a torch.Tensor: pass `tensor.permute(1, 2, 0).cpu().numpy()`, uint8 or 0…1"
    if kind == "UMat":
        return "a cv2.UMat: pass `image.get()`"
    if isinstance(image, (list, tuple)):
        return f"{kind}: pass one image at a time, as an array `np.asarray(image, np.uint8)`"
    return kind
