"""Maps from a checkpoint: shares add up for every kind of head, and both ways of explaining agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from torch import Tensor, nn  # noqa: E402

from edgeface.errors import ConfigError  # noqa: E402
from edgeface.explain.explainer import Explainer, HeadMap  # noqa: E402
from edgeface.export.onnx_export import export_onnx, proof_crops  # noqa: E402
from edgeface.imaging.image_io import read_image  # noqa: E402
from tests.fixtures import tiny_detector, write_picture  # noqa: E402, F401
from trainer.config import Config  # noqa: E402
from trainer.explain import explain, explain_pictures  # noqa: E402
from trainer.models import AttributeNet, build_net  # noqa: E402
from trainer.models.attention import MultiHeadAttention  # noqa: E402
from trainer.models.calibration_values import Calibration  # noqa: E402
from trainer.models.program import save_program, spec_of  # noqa: E402

CROP = proof_crops(64)[5]


def small(**changes: Any) -> Config:
    return Config(**{"stem": 8, "widths": (16, 24), "depths": (1, 1), "input_size": 64, **changes})


def lively(config: Config) -> AttributeNet:
    """A fresh network whose heads have opinions."""
    torch.manual_seed(3)
    net = build_net(config)
    for name, value in net.named_parameters():
        if not name.startswith("body") and value.ndim > 1:
            nn.init.normal_(value, 0, 0.3)
    return net.eval()


def totals(found: HeadMap) -> np.ndarray:
    return found.values.sum(axis=(1, 2)) + found.bias


@pytest.mark.parametrize("pool", ["position", "mean", "flatten"])
@pytest.mark.parametrize(
    ("age_head", "gender_head", "method", "error"),
    [
        ("distribution", "softmax", "integrated", 0.1),
        ("ordinal", "sigmoid", "integrated", 0.1),
        ("groups", "sigmoid", "integrated", 0.1),
        ("regression", "softmax", "cam", 1e-3),
    ],
)
def test_shares_add_up(pool: str, age_head: str, gender_head: str, method: str, error: float) -> None:
    net = lively(small(pool=pool, age_head=age_head, gender_head=gender_head, race_class_weights=(1, 2, 3, 4, 5)))
    net.calibration = Calibration(
        age_std_scale=1.0, gender_temperature=2.0, race_temperature=1.5, race_bias=(0.0, 0.1, 0.2, 0.3, 0.4)
    )
    maps = explain(net, CROP)
    assert {head: found.method for head, found in maps.items()} == {"age": method, "gender": "cam", "race": "cam"}
    assert [found.values.shape for found in maps.values()] == [(1, 8, 8), (2, 8, 8), (5, 8, 8)]
    assert totals(maps["age"]) == pytest.approx(maps["age"].answers, abs=error)
    for head in ("gender", "race"):
        assert totals(maps[head]) == pytest.approx(maps[head].answers, abs=1e-3)


def test_the_exported_file_explains_alike(tmp_path: Path) -> None:
    config = small(attention="cbam", tasks=("gender", "age"), gender_head="sigmoid")
    net = lively(config)
    export_onnx(save_program(net, spec_of(config, net, {}), tmp_path / "net.pt2"), tmp_path / "net.onnx")
    expected = explain(net, CROP)
    with Explainer(tmp_path / "net.onnx", threads=1) as explainer:
        found = explainer(CROP)
    assert set(found) == set(expected) == {"age", "gender"}
    for head, want in expected.items():
        assert found[head].method == want.method
        assert found[head].answers == pytest.approx(want.answers, abs=1e-3)
        assert found[head].evidence() == pytest.approx(want.evidence(), abs=0.01 * float(np.abs(want.evidence()).max()))


def test_heads_with_hidden_layers_get_grad_cam() -> None:
    maps = explain(lively(small(race_hidden=(12,), tasks=("gender", "race"))), CROP)
    assert (maps["gender"].method, maps["race"].method) == ("cam", "grad-cam")
    assert maps["race"].values.shape == (1, 8, 8)
    assert maps["race"].values.min() >= 0 and maps["race"].values.max() > 0
    assert not maps["race"].adds_up


class Tokens(nn.Module):
    """Two attention layers over four patches and a class token, which alone is answered from."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 32, 32)
        self.start = nn.Parameter(torch.randn(1, 1, 8))
        self.layers = nn.ModuleList(MultiHeadAttention(8, 2) for _ in range(2))
        for layer in self.layers:
            nn.init.normal_(layer.in_proj_weight, 0, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.start, self.patches(x).flatten(2).transpose(1, 2)], dim=1)
        for layer in self.layers:
            tokens = tokens + layer(tokens, tokens, tokens)[0]
        return tokens[:, 0]


def test_a_transformers_attention_is_rolled_out() -> None:
    net = lively(small(widths=(8,), depths=(1,), pool="mean"))
    net.body, net.pool = Tokens(), nn.Identity()
    net.eval()
    crop = np.full((64, 64, 3), 128, np.uint8)
    crop[:32, 32:] = proof_crops(32)[0]
    maps = explain(net, crop)
    assert {found.method for found in maps.values()} == {"roll-out"}
    for found in maps.values():
        assert found.values.shape == (1, 2, 2) and found.values.min() >= 0 and found.values.max() > 0
        assert np.unravel_index(found.values[0].argmax(), (2, 2)) == (0, 1)
    assert not any(layer.softmax._forward_hooks for layer in net.body.layers), "nothing is left on the network"


@pytest.fixture
def checkpoint(tmp_path: Path, tiny_detector: Path) -> Path:  # noqa: F811
    config = small(detector=str(tiny_detector), tasks=("age", "race"))
    state = {
        "config": {key: list(value) if isinstance(value, tuple) else value for key, value in config.to_dict().items()},
        "ema": lively(config).state_dict(),
    }
    torch.save(state, tmp_path / "last.pt")
    return tmp_path / "last.pt"


def test_pictures_are_explained_face_by_face(tmp_path: Path, checkpoint: Path) -> None:
    write_picture(tmp_path / "in" / "a.png")
    write_picture(tmp_path / "in" / "b.png", np.full((64, 64, 3), 90, np.uint8))
    written = explain_pictures(checkpoint, [tmp_path / "in"], tmp_path / "out")
    assert [path.name for path in written] == ["a-face0.png"]
    assert read_image(written[0]).shape[1] == 3 * 254 + 14, "the crop and two maps"
    whole = explain_pictures(checkpoint, [tmp_path / "in"], tmp_path / "whole", whole=True)
    assert [path.name for path in whole] == ["a-face0.png", "b-face0.png"]


def test_maps_do_not_overwrite_each_other(tmp_path: Path, checkpoint: Path) -> None:
    for folder in ("one", "two"):
        write_picture(tmp_path / folder / "a.png")
    with pytest.raises(ConfigError, match="two of the images share a name"):
        explain_pictures(checkpoint, [tmp_path / "one", tmp_path / "two"], tmp_path / "out")
