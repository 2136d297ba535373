"""Weights from files: what a network starts from, and trained networks back from their checkpoints."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgeface.common.install import missing
from edgeface.common.toml_file import from_table
from edgeface.errors import ArtifactError, ConfigError
from trainer.config import Config
from trainer.models.calibration_values import Calibration
from trainer.models.folded import measure_norms, onnx_weights, unfolded
from trainer.models.net import AttributeNet, build_net, is_training_only
from trainer.models.vision import imagenet_state, resized_positions

_PREFIXES = ("module.", "_orig_mod.", "net.")
"""What wrappers (averaging, data-parallel, compiled) put before a network's own names."""
_NAMED = 4


def load_net(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> tuple[AttributeNet, Config]:
    """A trained network, in evaluation mode, and its recipe, from a checkpoint.

    Its averaged weights: those of the best epoch, or the last ones where nothing was validated. Its calibration, where
    the run fitted one, is the network's ``calibration``. Raises ``ArtifactError`` or ``ConfigError``.
    """
    state = _read(Path(path))
    if "config" not in state or "ema" not in state:
        raise ArtifactError(f"`{path}` is no checkpoint of this trainer: it holds no `config` and `ema`")
    config = from_table(Config, state["config"], f"checkpoint `{path}`")
    net = build_net(config)
    try:
        net.load_state_dict(averaged_weights(state))
    except RuntimeError as error:
        raise ArtifactError(f"`{path}`: its weights do not fit its own recipe; it is of another version") from error
    if state.get("calibration"):
        net.calibration = Calibration.from_dict(state["calibration"])
    return net.to(device).eval(), config


def averaged_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state dict to use of a checkpoint: the best epoch's averaged weights, else the last ones."""
    weights = checkpoint["ema"] if checkpoint.get("best") is None else checkpoint["best"]
    return {_bare(name): value for name, value in weights.items() if name != "n_averaged"}


def load_start(net: AttributeNet, config: Config, crops: Tensor | None = None) -> str:
    """Give ``net`` the weights that ``config.start`` names; returns a sentence for the log, empty without a start.

    "imagenet" downloads torchvision's. A file is a checkpoint of this trainer, a state dict of the whole network or of
    its backbone alone (.pt, .pth, .safetensors), or an exported network (.onnx), whose folded batch normalisations are
    measured again on ``crops`` (uint8 ``[N, S, S, 3]``, real ones). Tensors of other shapes or names are left out and
    reported; raises ``ConfigError`` where none fits.
    """
    if not config.start:
        return ""
    state = imagenet_state(config.backbone) if config.start == "imagenet" else _weights_of(_read(Path(config.start)))
    state, folded = unfolded(net, state)
    if "encoder.pos_embedding" in state and config.backbone == "vit_b_16":
        state = resized_positions(state, config.input_size)
    wanted = net.state_dict()
    renamed = {name if name in wanted else f"body.{name}": value for name, value in state.items()}
    fitting = {name: value for name, value in renamed.items() if _fits(value, wanted.get(name))}
    if not any(name.startswith("body.") for name in fitting):
        raise ConfigError(
            f"`start`: no tensor of {config.start} fits backbone {config.backbone} by name and shape "
            f"(it has {_some(state)}; the backbone {_some(net.body.state_dict())})"
        )
    net.load_state_dict(fitting, strict=False)
    if folded and crops is not None:
        measure_norms(net, crops.to(net.normalise.mean.device))
    return _sentence(config.start, fitting, [*wanted], [name for name in renamed if name not in fitting])


def load_compatible_weights(path: Path, config: Config, crops: Tensor) -> AttributeNet:
    """A recipe's network with the weights of a file as ``load_start`` reads them, in evaluation mode.

    Raises ``ConfigError`` unless the file has every tensor that answers, in its shape.
    """
    net = build_net(config)
    state, folded = unfolded(net, _weights_of(_read(path)))
    wanted = {name: value for name, value in net.state_dict().items() if not is_training_only(name)}
    if lacking := [name for name, value in wanted.items() if not _fits(state.get(name), value)]:
        raise ConfigError(f"`{path}`: expected a network of the recipe {config.name}, but {_some(lacking)} differ")
    net.load_state_dict({name: state[name] for name in wanted}, strict=False)
    if folded:
        measure_norms(net, crops)
    return net.eval()


def _sentence(start: str, fitting: Mapping[str, Tensor], wanted: list[str], unused: list[str]) -> str:
    fresh = [name for name in wanted if name not in fitting]
    text = f"start: {len(fitting)} tensors from {start}"
    text += f"; {len(fresh)} stay fresh ({_some(fresh)})" if fresh else ""
    return text + (f"; {len(unused)} of the file fit nowhere ({_some(unused)})" if unused else "")


def _some(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")


def _fits(value: Any, wanted: Tensor | None) -> bool:
    return isinstance(value, Tensor) and wanted is not None and value.shape == wanted.shape


def _weights_of(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state dict in a file's content, its names without wrappers' prefixes."""
    if "config" in content and "ema" in content:
        return averaged_weights(content)
    inner = next((content[key] for key in ("state_dict", "model_state_dict", "model") if key in content), content)
    if not isinstance(inner, Mapping):
        raise ConfigError(f"`start`: expected a state dict, found a {type(inner).__name__}")
    return {_bare(str(name)): value for name, value in inner.items()}


def _bare(name: str) -> str:
    while (prefix := next((p for p in _PREFIXES if name.startswith(p)), None)) is not None:
        name = name.removeprefix(prefix)
    return name


def _read(path: Path) -> dict[str, Any]:
    """A file's content without unpickling code. Raises ``ArtifactError`` where it is missing or damaged."""
    if path.suffix == ".onnx":
        return dict(onnx_weights(path))
    try:
        if path.suffix == ".safetensors":
            return dict(_safetensors(path))
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except FileNotFoundError as error:
        raise ArtifactError(f"no weights at `{path}`") from error
    except (OSError, RuntimeError, ValueError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise ArtifactError(f"`{path}` is damaged, or holds more than tensors and plain values") from error


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise missing("safetensors", "train", "reading .safetensors weights") from error
    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise ValueError(str(error)) from error
