"""The networks: shapes of what they answer, what the answers mean, and how many parameters they may have."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from edgeface.errors import ConfigError  # noqa: E402
from trainer.config import Config, load_config  # noqa: E402
from trainer.models import BACKBONES, AttributeNet, Logits, build_net  # noqa: E402
from trainer.models.attention import MultiHeadAttention  # noqa: E402
from trainer.models.backbone import Normalise  # noqa: E402
from trainer.models.calibration_values import Calibration  # noqa: E402
from trainer.models.heads import (  # noqa: E402
    AGE_BINS,
    AGE_HEADS,
    GENDER_HEADS,
    Answer,
    CoralLayer,
    age_answer,
    gender_logits,
    group_middles,
    spec_heads,
)

SMALL = Config(input_size=48, stem=8, widths=(16, 32), depths=(1, 1))
SMALLEST = {"inception_v3": 75}
OUTPUTS = {"distribution": AGE_BINS, "regression": 1, "ordinal": 100, "groups": 6}


class Fixed(torch.nn.Module):
    """Logits that do not depend on the crops."""

    def __init__(self, logits: Logits, config: Config = SMALL) -> None:
        super().__init__()
        self.logits, self.config, self.calibration = logits, config, Calibration()

    def forward(self, crops: torch.Tensor) -> Logits:
        return self.logits


def crops(count: int, size: int = 48) -> torch.Tensor:
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [48, 50, 97])
def test_any_crop_size(size: int) -> None:
    net = build_net(Config(input_size=size, stem=8, widths=(16, 32), depths=(1, 0))).eval()
    assert {task: tuple(raw.shape) for task, raw in net(crops(3, size)).items()} == {
        "age": (3, AGE_BINS),
        "gender": (3, 2),
        "race": (3, 5),
    }


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_answers_and_splits_into_backbone_and_heads(name: str) -> None:
    size = SMALLEST.get(name, 32)
    net = build_net(dataclasses.replace(SMALL, backbone=name, input_size=size, pool="mean")).eval()
    with torch.inference_mode():
        age, std, gender, race = Answer(net)(crops(2, size))
        pooled = net.pooled(crops(2, size))
    assert age.shape == std.shape == (2,) and gender.shape == (2, 2) and race.shape == (2, 5)
    assert pooled.shape == (2, net.age.in_features)


def test_names_that_there_are_not() -> None:
    for wrong, message in [
        ({"backbone": "resnet7"}, "`backbone`: expected one of compact, .*found resnet7"),
        ({"age_head": "x"}, "`age_head`: expected distribution or regression or ordinal or groups, found x"),
        ({"backbone": "inception_v3", "input_size": 64}, "inception_v3 needs 75 or more, found 64"),
        ({"backbone": "vit_b_16", "input_size": 50}, "multiple of its 16-pixel patches, found 50"),
        ({"backbone": "vit_b_16", "input_size": 32, "attention": "cbam"}, "`attention`: needs a feature map"),
        (
            {"backbone": "plain", "input_size": 32, "widths": (4,) * 6, "depths": (1,) * 6},
            "6 stages halve a crop of 32",
        ),
    ]:
        with pytest.raises(ConfigError, match=message):
            build_net(dataclasses.replace(SMALL, **wrong))


def test_the_shipped_network_is_compact() -> None:
    net = build_net(load_config("trainer/recipes/small.toml"))
    assert sum(p.numel() for p in net.parameters()) < 2_000_000


@pytest.mark.parametrize("head", AGE_HEADS)
def test_heads_have_the_outputs_of_their_kind_and_start_at_sensible_ages(head: str) -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, age_head=head, gender_head="sigmoid", tasks=("age", "gender"))
    net = build_net(config).eval()
    logits = net(crops(2))
    assert {task: tuple(raw.shape) for task, raw in logits.items()} == {"age": (2, OUTPUTS[head]), "gender": (2, 1)}
    answer = Answer(net)
    outputs = dict(zip([item.name for item in answer.heads], answer(crops(2))))
    assert list(outputs) == ["age", "age_std", "gender"]
    assert (outputs["age"] > 15).all() and (outputs["age"] < 60).all() and (outputs["age_std"] > 1).all()


def test_hidden_layers_are_those_asked_for() -> None:
    settings = {"age_hidden": (12, 7), "head_activation": "gelu", "head_dropout": 0.1}
    layers = [type(layer).__name__ for layer in build_net(dataclasses.replace(SMALL, **settings)).age]
    assert layers == ["Linear", "GELU", "Dropout"] * 2 + ["Linear"]


@pytest.mark.parametrize("attention", ["cbam", "self"])
def test_attention_keeps_the_map_and_a_fresh_self_attention_the_answer(attention: str) -> None:
    torch.manual_seed(0)
    net = build_net(dataclasses.replace(SMALL, attention=attention)).eval()
    features = net.features(crops(2))
    assert features.shape == (2, 32, 6, 6)
    assert torch.equal(features, net.body(net.normalise(crops(2)))) == (attention == "self")


@pytest.mark.parametrize(("size", "backbone"), [(64, "resnet18"), (48, "compact")])
def test_the_decoder_draws_a_mask_of_the_crops_size_while_training_only(size: int, backbone: str) -> None:
    net = build_net(dataclasses.replace(SMALL, input_size=size, backbone=backbone, decoder=True))
    assert net.train()(crops(2, size))["mask"].shape == (2, 1, size, size)
    assert "mask" not in net.eval()(crops(2, size))
    strides = [layer.stride for layer in net.decoder.layers if isinstance(layer, torch.nn.ConvTranspose2d)]
    assert strides == [(2, 2)] * 5


def test_spelled_out_attention_is_torchs_own() -> None:
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    torch.nn.init.normal_(theirs.in_proj_bias)
    mine, tokens = MultiHeadAttention.like(theirs), torch.randn(2, 5, 16)
    expected = theirs(tokens, tokens, tokens, need_weights=False)[0]
    for training in (True, False):
        assert torch.allclose(mine.train(training)(tokens, tokens, tokens)[0], expected, atol=1e-5)
    weights = []
    mine.softmax.register_forward_hook(lambda layer, given, answer: weights.append(answer))
    mine.eval()(tokens)
    assert weights[0].shape == (2, 4, 5, 5) and torch.allclose(weights[0].sum(-1), torch.ones(2, 4, 5))


def test_answers_are_expectation_spread_and_probabilities() -> None:
    age = torch.full((1, AGE_BINS), -torch.inf)
    age[0, [30, 40]] = 0.0
    race = torch.tensor([[0.0, 0, 0, 3.0, 0]])
    years, spread, gender, races = Answer(Fixed({"age": age, "gender": torch.tensor([[0.0, 2.0]]), "race": race}))(
        crops(1)
    )
    assert years.item() == pytest.approx(35) and spread.item() == pytest.approx(5)
    assert gender.sum().item() == pytest.approx(1) and gender.argmax().item() == 1
    assert races.sum().item() == pytest.approx(1) and races.argmax().item() == 3


@given(st.floats(-30, 30))
def test_one_logit_of_female_is_its_sigmoid(logit: float) -> None:
    config = dataclasses.replace(SMALL, gender_head="sigmoid")
    chances = gender_logits(torch.tensor([[logit]]), config).softmax(dim=1)[0]
    assert chances[1].item() == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-6)
    assert set(GENDER_HEADS) == {"softmax", "sigmoid"}


@given(st.lists(st.floats(-6, 6), min_size=100, max_size=100))
def test_ordered_thresholds_and_years_tell_the_same_age(values: list[float]) -> None:
    above = torch.tensor(values).sort(descending=True).values
    chances = torch.sigmoid(above)
    by_year = torch.cat([1 - chances[:1], chances[:-1] - chances[1:], chances[-1:]]).clamp_min(0)
    ordinal = age_answer(above[None], dataclasses.replace(SMALL, age_head="ordinal"))
    distribution = age_answer(by_year.log()[None], SMALL)
    assert ordinal[0].item() == pytest.approx(distribution[0].item(), abs=0.01)
    assert ordinal[1].item() == pytest.approx(distribution[1].item(), abs=0.05)


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4), st.integers(0, 2**31))
def test_coral_thresholds_are_in_order_whatever_it_learned(features: list[float], seed: int) -> None:
    torch.manual_seed(seed)
    layer = CoralLayer(4)
    torch.nn.init.normal_(layer.steps, std=3.0)
    raw = layer(torch.tensor([features]))
    assert raw.shape == (1, 100) and (raw.diff() <= 0).all()


def test_groups_answer_their_middles_and_a_spread_that_counts_their_width() -> None:
    config = dataclasses.replace(SMALL, age_head="groups")
    assert group_middles(config)[0] == [2, 9.5, 19.5, 34.5, 54.5, 82]
    sure = torch.full((6, 6), -1e4).fill_diagonal_(0.0)
    age, std = age_answer(sure, config)
    assert age.tolist() == pytest.approx(group_middles(config)[0])
    years = torch.arange(45, 65, dtype=torch.float32)
    assert std[4].item() == pytest.approx(years.std(unbiased=False).item(), rel=1e-5)


def test_regression_answers_stay_within_life() -> None:
    age, std = age_answer(torch.tensor([[-3.0], [31.5], [500.0]]), dataclasses.replace(SMALL, age_head="regression"))
    assert age.tolist() == [0, 31.5, 120] and std.shape == (3,)


def test_calibration_is_applied_in_the_answer() -> None:
    torch.manual_seed(0)
    net = build_net(SMALL).eval()
    bias = (0.0, 0.3, 0.0, 0.0, -0.2)
    with torch.inference_mode():
        plain = Answer(net)(crops(3))
        net.calibration = Calibration(age_std_scale=2.0, gender_temperature=4.0, race_temperature=0.5, race_bias=bias)
        fitted, raw = Answer(net)(crops(3)), Answer(net, Calibration())(crops(3))
    assert all(torch.equal(a, b) for a, b in zip(plain, raw)), "another calibration replaces the network's own"
    assert torch.equal(plain[0], fitted[0]) and torch.allclose(fitted[1], 2 * plain[1])
    assert torch.allclose(fitted[2], (plain[2].log() / 4).softmax(1), atol=1e-5)
    assert torch.allclose(fitted[3], ((plain[3].log() + torch.tensor(bias)) / 0.5).softmax(1), atol=1e-5)


def test_heads_of_the_spec_follow_the_tasks() -> None:
    names = {tasks: [head.name for head in spec_heads(tasks)] for tasks in [("race", "age"), ("gender",)]}
    assert names == {("race", "age"): ["age", "age_std", "race"], ("gender",): ["gender"]}


def test_an_answer_does_not_depend_on_its_batch() -> None:
    torch.manual_seed(0)
    answer = Answer(AttributeNet(SMALL)).eval()
    with torch.inference_mode():
        together, alone = answer(crops(4)), answer(crops(4)[2:3])
    for whole, one in zip(together, alone):
        assert torch.allclose(whole[2:3], one, atol=1e-5)


def test_class_weights_are_divided_out_of_the_answer() -> None:
    even = AttributeNet(dataclasses.replace(SMALL, race_class_weights=(1.0,) * 5)).eval()
    weighted = AttributeNet(dataclasses.replace(SMALL, race_class_weights=(1.0, 1.0, 1.0, 1.0, 2.0))).eval()
    weighted.load_state_dict(even.state_dict())
    with torch.inference_mode():
        before, after = (Answer(net)(crops(4))[3] for net in (even, weighted))
    odds = (after[:, 4] / after[:, 0]) / (before[:, 4] / before[:, 0])
    assert odds.tolist() == pytest.approx([0.5] * 4, rel=1e-4)


def test_normalisations() -> None:
    extremes = Normalise("symmetric")(torch.tensor([[[[0, 0, 255]]]], dtype=torch.uint8))
    assert extremes.shape == (1, 3, 1, 1)
    assert extremes.min() == -extremes.max()
    grey = Normalise("imagenet")(torch.full((1, 1, 1, 3), 124, dtype=torch.uint8)).flatten()
    assert grey.tolist() == pytest.approx([0.0056, 0.1352, 0.3569], abs=1e-3)
