"""Networks of other systems for the same job, exported by ``trainer`` with random weights, which cost the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from benchmarks.studies.vgg_style import write_vgg_style

RECIPES = Path(__file__).resolve().parents[2] / "trainer" / "recipes"


def from_recipe(recipe: str, backbone: str | None = None) -> Callable[[Path], Path]:
    """A recipe's network, with another ``backbone`` where one is named, as ONNX at the path that is given."""

    def write(path: Path) -> Path:
        from edgeface.export.onnx_export import export_onnx
        from trainer.config import load_config
        from trainer.models import build_net
        from trainer.models.program import save_program, spec_of

        _register_mobilenet_v2()
        config = load_config(RECIPES / f"{recipe}.toml")
        config = dataclasses.replace(config, backbone=backbone or config.backbone)
        net = build_net(config).eval()
        program = save_program(net, spec_of(config, net, {}), path.with_suffix(".pt2"))
        export_onnx(program, path)
        program.unlink()
        return path

    return write


def _register_mobilenet_v2() -> None:
    """The trainer's registry takes further backbones; this one only a comparison needs."""
    from trainer.config import Config
    from trainer.models import BACKBONES, Backbone

    def mobilenet_v2(config: Config) -> Backbone:
        import trainer.models.torchvision_shim  # noqa: F401  (makes torchvision importable beside any build of torch)

        from torchvision.models import mobilenet_v2 as make  # isort: skip

        return Backbone(make(weights=None).features, 1280, -(-config.input_size // 32))

    BACKBONES.setdefault("mobilenet_v2", mobilenet_v2)


NETWORKS: dict[str, Callable[[Path], Path]] = {
    "ViT-B/16 at 224": from_recipe("vit-b16"),
    "ResNet34 at 224": from_recipe("hydranet"),
    "ResNet18 at 224": from_recipe("age-groups"),
    "MobileNetV2 at 224": from_recipe("age-groups", "mobilenet_v2"),
    "VGG-style at 200": write_vgg_style,
    "VGG-style at 200, narrow": from_recipe("vgg-style"),
}
"""Writers of each network's ONNX file, by the name in tables."""
HEAVY = ("ViT-B/16 at 224", "ResNet34 at 224")
"""Left out of a quick run."""
