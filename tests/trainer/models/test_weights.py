"""Weights from files: what a network starts from, and trained networks back from their checkpoints."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from edgeface.errors import ArtifactError, ConfigError  # noqa: E402
from trainer.config import Config  # noqa: E402
from trainer.models import AttributeNet, build_net, load_net, load_start  # noqa: E402
from trainer.models.calibration_values import Calibration  # noqa: E402

SMALL = Config(input_size=32, stem=4, widths=(8, 16), depths=(1, 1))


def net_of(config: Config = SMALL, seed: int = 0) -> AttributeNet:
    torch.manual_seed(seed)
    return build_net(config)


def checkpoint(path: Path, net: AttributeNet, **changes: Any) -> Path:
    """As a run writes it, as far as its weights are read back."""
    averaged = {"n_averaged": torch.tensor(3), **{f"module.{key}": value for key, value in net.state_dict().items()}}
    state = {"config": {k: list(v) if isinstance(v, tuple) else v for k, v in net.config.to_dict().items()}}
    torch.save({**state, "net": {}, "ema": averaged, "best": None, **changes}, path)
    return path


def same(left: Any, right: Any) -> bool:
    return all(torch.equal(value, right.state_dict()[name]) for name, value in left.state_dict().items())


def test_a_checkpoint_gives_its_averaged_weights_recipe_and_calibration(tmp_path: Path) -> None:
    net, best = net_of(), net_of(seed=1)
    fitted = Calibration(
        age_std_scale=1.5, gender_temperature=2.0, race_temperature=0.5, race_bias=(0.0, 0.1, 0.0, 0.0, 0.2)
    )
    last, config = load_net(checkpoint(tmp_path / "last.pt", net))
    assert config == SMALL and same(net, last) and not last.training and last.calibration == Calibration()
    chosen, _ = load_net(checkpoint(tmp_path / "b.pt", net, best=best.state_dict(), calibration=fitted.to_dict()))
    assert same(best, chosen) and chosen.calibration == fitted


def test_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return print, ("run",)

    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(Bomb()))
    (tmp_path / "text.pt").write_text("no weights")
    torch.save(net_of().state_dict(), tmp_path / "plain.pt")
    with pytest.raises(ArtifactError, match="is damaged, or holds more than tensors"):
        load_net(tmp_path / "pickle.pt")
    with pytest.raises(ArtifactError, match="is damaged, or holds more than tensors"):
        load_net(tmp_path / "text.pt")
    with pytest.raises(ArtifactError, match="no weights at"):
        load_net(tmp_path / "none.pt")
    with pytest.raises(ArtifactError, match="is no checkpoint of this trainer"):
        load_net(tmp_path / "plain.pt")
    other = checkpoint(tmp_path / "other.pt", net_of(dataclasses.replace(SMALL, stem=8)), config={"stem": 4})
    with pytest.raises(ArtifactError, match="its weights do not fit its own recipe"):
        load_net(other)


def test_without_a_start_nothing_changes() -> None:
    net, again = net_of(), net_of()
    assert load_start(net, SMALL) == "" and same(net, again)


@pytest.mark.parametrize("kind", ["checkpoint.pt", "whole.pth", "body.pt", "wrapped.pt", "body.safetensors"])
def test_a_backbone_starts_from_a_file(kind: str, tmp_path: Path) -> None:
    source, path = net_of(), tmp_path / kind
    if kind == "checkpoint.pt":
        checkpoint(path, source)
    elif kind == "body.safetensors":
        safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
        safetensors.save_file(source.body.state_dict(), path)
    elif kind == "wrapped.pt":
        torch.save({"state_dict": {f"module.{k}": v for k, v in source.state_dict().items()}, "epoch": 3}, path)
    else:
        torch.save((source if kind == "whole.pth" else source.body).state_dict(), path)
    net = net_of(seed=1)
    sentence = load_start(net, dataclasses.replace(SMALL, start=str(path)))
    assert same(source.body, net.body)
    assert f"tensors from {path}" in sentence
    assert ("stay fresh (pool.conv.weight" in sentence) == kind.startswith("body")


def test_tensors_that_do_not_fit_are_named_and_stay_fresh(tmp_path: Path) -> None:
    source = net_of(dataclasses.replace(SMALL, age_head="groups"))
    net, fresh = net_of(seed=1), net_of(seed=1)
    torch.save({**source.state_dict(), "extra": torch.zeros(3)}, tmp_path / "a.pt")
    sentence = load_start(net, dataclasses.replace(SMALL, start=str(tmp_path / "a.pt")))
    assert "2 stay fresh (age.weight, age.bias)" in sentence
    assert "3 of the file fit nowhere (age.weight, age.bias, body.extra)" in sentence
    assert same(source.body, net.body) and same(fresh.age, net.age)


def exported(net: AttributeNet, path: Path) -> Path:
    from edgeface.export.onnx_export import export_onnx
    from trainer.models.program import save_program, spec_of

    pytest.importorskip("onnx", reason="onnx is not installed (extra `train`)")
    save_program(net, spec_of(net.config, net, {}), path.with_suffix(".pt2"))
    export_onnx(path.with_suffix(".pt2"), path)
    return path


def lived_in(net: AttributeNet) -> AttributeNet:
    """With running means, variances, scales and shifts as training leaves them."""
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight, 1, 0.2)
            torch.nn.init.normal_(module.bias, 0, 0.2)
            torch.nn.init.normal_(module.running_mean, 0, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return net.eval()


def test_training_goes_on_from_an_exported_file(tmp_path: Path) -> None:
    source, net = lived_in(net_of()), net_of(seed=1)
    path = exported(source, tmp_path / "net.onnx")
    crops = torch.randint(0, 256, (256, 32, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    sentence = load_start(net, dataclasses.replace(SMALL, start=str(path)), crops)
    assert sentence.endswith(f"tensors from {path}"), "all of the network's, none left over"

    wanted, answers = source(crops), net.eval()(crops)
    for task, logits in wanted.items():
        torch.testing.assert_close(answers[task], logits, rtol=1e-3, atol=1e-3)
    net.dropout.p = 0.0
    training = net.train()(crops)["gender"]
    torch.testing.assert_close(training, wanted["gender"], rtol=2e-2, atol=2e-2)


def test_onnx_files_without_a_networks_weights(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra `train`)")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(ArtifactError, match="text.onnx` is not a readable ONNX file with its weights inside"):
        load_start(net_of(), dataclasses.replace(SMALL, start=str(tmp_path / "text.onnx")))
    with pytest.raises(ArtifactError, match="no weights at .*none.onnx"):
        load_start(net_of(), dataclasses.replace(SMALL, start=str(tmp_path / "none.onnx")))
    graph = onnx.helper.make_graph([], "empty", [], [])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "empty.onnx")
    with pytest.raises(ConfigError, match="`start`: no tensor of .*empty.onnx fits backbone compact"):
        load_start(net_of(), dataclasses.replace(SMALL, start=str(tmp_path / "empty.onnx")))


def test_a_start_of_another_network_is_refused(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(4, 3, 7, 7)}, tmp_path / "a.pt")
    with pytest.raises(ConfigError, match="`start`: no tensor of .*a.pt fits backbone compact .*it has conv1.weight"):
        load_start(net_of(), dataclasses.replace(SMALL, start=str(tmp_path / "a.pt")))
    with pytest.raises(ConfigError, match="torchvision has no ImageNet weights for backbone compact"):
        load_start(net_of(), dataclasses.replace(SMALL, start="imagenet"))


def test_torchvision_names_fit_and_a_vit_takes_other_sizes(tmp_path: Path) -> None:
    from trainer.models.vision import resized_positions

    config = dataclasses.replace(SMALL, backbone="resnet18", pool="mean")
    source = net_of(config)
    torch.save({**source.body.state_dict(), "fc.weight": torch.zeros(1000, 512)}, tmp_path / "resnet18.pth")
    net = net_of(config, seed=1)
    sentence = load_start(net, dataclasses.replace(config, start=str(tmp_path / "resnet18.pth")))
    assert same(source.body, net.body) and "1 of the file fit nowhere (body.fc.weight)" in sentence

    state = {"encoder.pos_embedding": torch.arange(17.0)[None, :, None].expand(1, 17, 8).clone()}
    small = resized_positions(state, 32)["encoder.pos_embedding"]
    assert small.shape == (1, 5, 8) and small[0, :, 0].tolist() == [0, 1, 4, 13, 16], "class token, then the corners"
