"""Where in a crop a network's answers come from: a map per head, by the method that suits its layers.

A convolutional network with a linear layer per head: class activation maps, whose places add up to the logit; for an
age that is no linear function of its logits (an expectation), the same maps weighted by its slopes on the way from an
empty feature map (integrated gradients), so that places add up to the age. ``edgeface.explain.explainer`` finds the
same values from the exported file. Heads with hidden layers: Grad-CAM. A transformer: attention roll-out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgeface.errors import ConfigError
from edgeface.explain.draw import draw_maps, tiles_of
from edgeface.explain.explainer import CAM, GRAD_CAM, INTEGRATED, ROLL_OUT, HeadMap
from edgeface.imaging.image_io import list_images, read_image, write_image
from edgeface.imaging.preprocess import align, centre_crop
from edgeface.inference.attributes import landmarks_of
from edgeface.inference.detector import FaceDetector
from edgeface.types import Image
from trainer.config import Config
from trainer.models import AttributeNet, load_net
from trainer.models.attention import MultiHeadAttention
from trainer.models.heads import age_answer, gender_logits, spec_heads

_STEPS = 32
"""As in ``edgeface.explain.explainer``."""


def explain(net: AttributeNet, crop: Image) -> dict[str, HeadMap]:
    """Maps of every head by name for one aligned crop, uint8 ``[S, S, 3]`` RGB; ``net`` is in evaluation mode."""
    device = next(net.parameters()).device
    pixels = torch.from_numpy(np.ascontiguousarray(crop))[None].to(device)
    if any(isinstance(module, MultiHeadAttention) for module in net.body.modules()):
        return _roll_outs(net, pixels)
    with torch.no_grad():
        features = net.features(pixels).float().contiguous()
    return {
        task: _grad_cam(net, task, features) if _is_deep(net, task) else _shares(net, task, features)
        for task in net.config.tasks
    }


def explain_pictures(
    checkpoint: str | os.PathLike[str],
    pictures: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    whole: bool = False,
) -> list[Path]:
    """Explain every face of ``pictures`` (files and folders) by a checkpoint's network; returns the files written.

    ``NAME-face0.png``, ``NAME-face1.png`` … in the folder ``out``, best score first. Faces are found and cut as for
    training; ``whole``: every image is one face already, its centre square is taken.
    """
    net, config = load_net(checkpoint)
    files = [path for picture in pictures for path in list_images(picture)]
    if len({path.stem for path in files}) < len(files):
        raise ConfigError("two of the images share a name, so their maps would, too; explain them one by one")
    written, heads = [], spec_heads(config.tasks)
    for path in files:
        for number, crop in enumerate(_crops(read_image(path), config, whole)):
            target = Path(out) / f"{path.stem}-face{number}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            write_image(target, draw_maps(crop, tiles_of(explain(net, crop), heads)))
            written.append(target)
    return written


def _crops(image: Image, config: Config, whole: bool) -> Iterator[Image]:
    if whole:
        yield centre_crop(image, config.input_size)
        return
    with FaceDetector(config.detector or None) as detector:
        faces = detector(image)
    if len(faces):
        yield from align(image, landmarks_of(faces), config.alignment, config.input_size)


def _is_deep(net: AttributeNet, task: str) -> bool:
    """Whether a head has hidden layers."""
    return isinstance(net.get_submodule(task), nn.Sequential)


def _raw(net: AttributeNet, task: str, pooled: Tensor) -> Tensor:
    raw: Tensor = net.get_submodule(task)(pooled)
    return raw.float()


def _answers(net: AttributeNet, task: str, raw: Tensor) -> Tensor:
    """Raw outputs ``[N, K]`` as what is explained: age ``[N, 1]`` in years, or calibrated logits ``[N, classes]``."""
    fitted = net.calibration
    if task == "age":
        regressed = net.config.age_head == "regression"
        return raw if regressed else age_answer(raw, net.config, fitted.age_temperature)[0][:, None]
    if task == "gender":
        return gender_logits(raw, net.config) / fitted.gender_temperature
    return (raw - net.race_log_weights + torch.tensor(fitted.race_bias, device=raw.device)) / fitted.race_temperature


@torch.no_grad()
def _shares(net: AttributeNet, task: str, features: Tensor) -> HeadMap:
    """What each place of ``features`` ``[1, C, h, w]`` adds to the answer, through pooling and a linear layer."""
    height, width = features.shape[2:]
    masks = torch.eye(height * width, device=features.device).reshape(-1, 1, height, width)
    alone = torch.cat([_raw(net, task, net.pool(features * mask)) for mask in torch.split(masks, 64)])
    empty, whole = (_raw(net, task, net.pool(part)) for part in (torch.zeros_like(features), features))
    answer, bias = (_answers(net, task, raw)[0] for raw in (whole, empty))
    if task == "age" and net.config.age_head != "regression":
        values, method = (alone - empty) @ _mean_slope(net, empty, whole), INTEGRATED
    else:
        values, method = _answers(net, task, alone) - bias, CAM
    return HeadMap(task, _grid(values, height), _numpy(bias), _numpy(answer), method)


@torch.enable_grad()
def _mean_slope(net: AttributeNet, empty: Tensor, whole: Tensor) -> Tensor:
    """The age's slope in each of its logits ``[K, 1]``, averaged on the way from ``empty`` to ``whole`` ``[1, K]``."""
    way = (torch.arange(_STEPS, device=whole.device)[:, None] + 0.5) / _STEPS
    logits = (empty + way * (whole - empty)).requires_grad_()
    (slopes,) = torch.autograd.grad(_answers(net, "age", logits).sum(), logits)
    return slopes.mean(dim=0)[:, None]


@torch.enable_grad()
def _grad_cam(net: AttributeNet, task: str, features: Tensor) -> HeadMap:
    """Selvaraju et al., "Grad-CAM: Visual explanations from deep networks", ICCV 2017."""
    features = features.detach().requires_grad_()
    answer = _answers(net, task, _raw(net, task, net.pool(features)))[0]
    (slopes,) = torch.autograd.grad(_score(answer), features)
    return _unsigned(task, (slopes.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1).relu(), answer, GRAD_CAM)


@torch.enable_grad()
def _roll_outs(net: AttributeNet, pixels: Tensor) -> dict[str, HeadMap]:
    """What the class token draws from each patch, over all layers.

    Abnar and Zuidema, "Quantifying attention flow in transformers", ACL 2020, where a layer's attention heads are
    weighted by an answer's gradient, so that every answer has a map of its own: Chefer et al., "Generic
    attention-model explainability", ICCV 2021.
    """
    with _attention_weights(net) as weights:
        pooled = net.pooled(pixels)
    maps = {}
    for task in net.config.tasks:
        answer = _answers(net, task, _raw(net, task, pooled))[0]
        patches = _roll_out(weights, torch.autograd.grad(_score(answer), weights, retain_graph=True))
        side = round(len(patches) ** 0.5)
        maps[task] = _unsigned(task, patches.reshape(1, side, side), answer, ROLL_OUT)
    return maps


def _score(answer: Tensor) -> Tensor:
    """What gradients are taken of: the age, or the likeliest class's logit against the mean of all."""
    return answer[0] if len(answer) == 1 else answer.max() - answer.mean()


def _roll_out(weights: Sequence[Tensor], slopes: Sequence[Tensor]) -> Tensor:
    """Relevance of every patch ``[T - 1]`` to the class token, from ``[1, heads, T, T]`` of each layer in order."""
    relevance = torch.eye(weights[0].shape[-1], device=weights[0].device)
    for weight, slope in zip(weights, slopes):
        relevance = relevance + (weight * slope).detach().relu()[0].mean(dim=0) @ relevance
    return relevance[0, 1:]


@contextmanager
def _attention_weights(net: AttributeNet) -> Iterator[list[Tensor]]:
    """Collects what every attention layer weighs its tokens with while the network runs."""
    seen: list[Tensor] = []
    layers = [module for module in net.body.modules() if isinstance(module, MultiHeadAttention)]
    hooks = [layer.softmax.register_forward_hook(lambda _, __, weights: seen.append(weights)) for layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _unsigned(task: str, values: Tensor, answer: Tensor, method: str) -> HeadMap:
    return HeadMap(task, _numpy(values), np.full(len(answer), np.nan, np.float32), _numpy(answer), method)


def _grid(values: Tensor, height: int) -> np.ndarray:
    """Values of all places ``[P, K]`` as float32 ``[K, h, w]``."""
    return _numpy(values.T.reshape(values.shape[1], height, -1))


def _numpy(values: Tensor) -> np.ndarray:
    return values.detach().cpu().float().numpy()
