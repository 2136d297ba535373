"""Networks of every kind as ONNX: ONNX Runtime answers as the network does, and TensorRT's rules hold."""

from __future__ import annotations

import collections
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from edgeface.export.onnx_export import export_onnx, proof_crops  # noqa: E402
from edgeface.inference.attributes import AttributeEstimator  # noqa: E402
from edgeface.quantization.lint import lint  # noqa: E402
from trainer.config import Config  # noqa: E402
from trainer.models import AttributeNet, build_net  # noqa: E402
from trainer.models.calibration_values import Calibration  # noqa: E402
from trainer.models.heads import Answer  # noqa: E402
from trainer.models.program import save_program, spec_of  # noqa: E402
from trainer.models.uncertainty import Ensemble  # noqa: E402

SMALL = Config(input_size=32, stem=4, widths=(8, 16), depths=(1, 1))


def net_of(seed: int = 0, **settings: Any) -> AttributeNet:
    """A network whose answers differ from face to face, as a trained one's do."""
    torch.manual_seed(seed)
    net = build_net(dataclasses.replace(SMALL, **settings))
    net.calibration = Calibration(
        age_std_scale=1.5, gender_temperature=2.0, race_temperature=0.5, race_bias=(0.0, 0.5, 0.0, 0.0, -0.5)
    )
    net.train()
    with torch.no_grad():
        for _ in range(5):  # running statistics
            net(torch.from_numpy(proof_crops(net.config.input_size)))
    return net.eval()


def check(net: Any, answer: Any, folder: Path) -> Path:
    """Export ``net`` and compare what ONNX Runtime says with ``answer``."""
    path, crops = folder / "model.onnx", proof_crops(net.config.input_size)
    spec = export_onnx(save_program(net, spec_of(net.config, net, {}), folder / "model.pt2"), path)
    assert [head.name for head in spec.heads] == [head.name for head in answer.heads]
    with AttributeEstimator(path, threads=1) as estimator, torch.inference_mode():
        found = estimator.from_crops(crops)
        expected = dict(zip((head.name for head in answer.heads), answer(torch.from_numpy(crops))))
    for name in ("age", "age_std", "gender", "race"):
        if name in expected:
            np.testing.assert_allclose(getattr(found, name), expected[name].numpy(), atol=2e-3, err_msg=name)
        else:
            assert np.isnan(getattr(found, name)).all(), name
    assert lint(path) == []
    return path


def operators(path: Path) -> collections.Counter[str]:
    import onnx

    return collections.Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize(
    "settings",
    [
        {"attention": "cbam", "age_head": "ordinal", "gender_head": "sigmoid"},
        {"attention": "self", "age_head": "groups", "tasks": ("age", "gender"), "pool": "mean"},
        {"backbone": "vgg", "pool": "flatten", "age_head": "regression", "age_hidden": (8,), "head_activation": "gelu"},
        {"backbone": "mobilenet_v3_small", "pool": "mean", "normalisation": "imagenet", "tasks": ("race",)},
    ],
    ids=lambda settings: "-".join(str(value) for value in settings.values() if isinstance(value, str)),
)
def test_networks_of_every_kind_of_part(settings: dict[str, Any], tmp_path: Path) -> None:
    net = net_of(**settings)
    kinds = operators(check(net, Answer(net).eval(), tmp_path))
    assert not {"Gather", "Range", "Shape", "BatchNormalization"} & set(kinds), "shapes are known, norms are folded"


def test_an_ensemble_is_one_program(tmp_path: Path) -> None:
    ensemble = Ensemble([net_of(), net_of(seed=1, age_head="regression")]).eval()
    assert operators(check(ensemble, ensemble, tmp_path))["Conv"] == 2 * 10
