"""The network: shapes, the exported answer's meaning, and how many parameters it may have."""

from __future__ import annotations

import dataclasses

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from trainer.config import Config, load_config  # noqa: E402
from trainer.model import AGE_BINS, Answer, AttributeNet, Logits, normalise  # noqa: E402

SMALL = Config(input_size=48, stem=8, widths=(16, 32), depths=(1, 1))


class Fixed(torch.nn.Module):
    """Logits that do not depend on the crops."""

    def __init__(self, logits: Logits) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, crops: torch.Tensor) -> Logits:
        return self.logits


def crops(count: int, size: int = 48) -> torch.Tensor:
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [48, 50, 97])
def test_any_crop_size(size: int) -> None:
    net = AttributeNet(Config(input_size=size, stem=8, widths=(16, 32), depths=(1, 0))).eval()
    logits = net(crops(3, size))
    assert [tuple(part.shape) for part in logits] == [(3, AGE_BINS), (3, 2), (3, 5)]


def test_the_shipped_network_is_compact() -> None:
    net = AttributeNet(load_config("trainer/recipes/compact.toml"))
    assert sum(p.numel() for p in net.parameters()) < 2_000_000


def test_answers_are_expectation_spread_and_probabilities() -> None:
    age = torch.full((1, AGE_BINS), -torch.inf)
    age[0, [30, 40]] = 0.0
    logits = Logits(age, torch.tensor([[0.0, 2.0]]), torch.tensor([[0.0, 0, 0, 3.0, 0]]))
    years, spread, gender, race = Answer(Fixed(logits))(crops(1))
    assert years.item() == pytest.approx(35) and spread.item() == pytest.approx(5)
    assert gender.sum().item() == pytest.approx(1) and gender.argmax().item() == 1
    assert race.sum().item() == pytest.approx(1) and race.argmax().item() == 3


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


def test_normalisation_is_symmetric() -> None:
    extremes = normalise(torch.tensor([[[[0, 0, 255]]]], dtype=torch.uint8))
    assert extremes.shape == (1, 3, 1, 1)
    assert extremes.min() == -extremes.max()
