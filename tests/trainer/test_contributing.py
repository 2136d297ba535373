"""What CONTRIBUTING shows is true: its pieces, taken as they are written, make a network that learns and exports."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

import torch.nn.functional as F  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from tests.conftest import ROOT  # noqa: E402
from trainer.config import Config  # noqa: E402
from trainer.models import BACKBONES, Backbone, build_net  # noqa: E402
from trainer.models.backbone import ConvBn  # noqa: E402
from trainer.models.heads import AGE_HEADS, Answer, Head  # noqa: E402
from trainer.objective.age_losses import AGE_LOSSES, age_loss  # noqa: E402
from trainer.objective.losses import Targets, check, task_losses  # noqa: E402


def shown() -> dict[str, Any]:
    """The names that CONTRIBUTING's code blocks define; registries are restored by the test."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^  ```python\n(.*?)^  ```", text, flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    names: dict[str, Any] = {"Config": Config, "Backbone": Backbone, "ConvBn": ConvBn, "Head": Head}
    names |= {"AGE_HEADS": AGE_HEADS, "age_loss": age_loss, "Tensor": Tensor, "nn": nn, "F": F}
    for block in blocks:
        exec(textwrap.dedent(block), names)
    return names


def test_its_backbone_head_and_loss_work_together(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry, name in ((AGE_LOSSES, "log"), (AGE_HEADS, "decades"), (BACKBONES, "tiny")):
        monkeypatch.setitem(registry, name, None)  # type: ignore[arg-type]  # removed again afterwards
    names = shown()
    BACKBONES["tiny"] = names["tiny"]
    AGE_LOSSES["log"] = AGE_LOSSES["log"]._replace(heads=frozenset({"regression", "decades"}))
    config = Config(backbone="tiny", age_head="decades", age_loss="log", input_size=32, tasks=("age",))
    check(config)
    net = build_net(config)
    crops = torch.zeros(4, 32, 32, 3, dtype=torch.uint8)
    none = torch.full((4,), -1)
    targets = Targets(torch.tensor([20.0, 30.0, 40.0, float("nan")]), none, none, none, none)
    loss = task_losses(net(crops), targets, config)["age"]
    loss.backward()
    assert loss > 1 and any(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    age, std = Answer(net.eval())(crops)
    assert age.shape == std.shape == (4,) and (std == 10).all()
