"""The averaged weights' exact values, step by step, and of a file that was written before."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from trainer.ema import averaged  # noqa: E402


def numbered(value: float) -> torch.nn.BatchNorm1d:
    """A network whose weight, running mean and step counter are known."""
    net = torch.nn.BatchNorm1d(1).double()
    with torch.no_grad():
        net.weight.fill_(value)
    net.running_mean.fill_(-value)
    net.num_batches_tracked.fill_(int(value))
    return net


def follow(decay: float, values: list[float]) -> torch.nn.Module:
    net = numbered(100.0)
    ema = averaged(net, decay)
    for value in values:
        net.load_state_dict(numbered(value).state_dict())
        ema.update_parameters(net)
    return ema


@pytest.mark.parametrize(
    ("decay", "values", "expected"),
    [
        (0.9, [8.0], 8.0),  # the first step's weights replace those from before training
        (0.9, [8.0, 19.0], 8 / 11 + 19 * 10 / 11),  # warm-up: 1/11 remains
        (0.9, [8.0, 19.0, 12.0], 18 * 2 / 12 + 12 * 10 / 12),  # then 2/12
        (0.1, [8.0, 19.0, 12.0], 18 * 0.1 + 12 * 0.9),  # the warm-up ends at `decay`
        (0.0, [8.0, 19.0, 12.0], 12.0),
    ],
)
def test_the_average_has_the_expected_value(decay: float, values: list[float], expected: float) -> None:
    module = follow(decay, values).module
    assert float(module.weight) == pytest.approx(expected, rel=1e-12)
    assert float(module.running_mean) == pytest.approx(-expected, rel=1e-12)
    assert int(module.num_batches_tracked) == int(values[-1])
    assert not module.training and not module.weight.requires_grad


def test_a_state_written_before_goes_on_where_it_was() -> None:
    net = numbered(12.0)
    ema = averaged(net, 0.9)
    older = {f"module.{name}": value.clone() for name, value in numbered(18.0).state_dict().items()}
    ema.load_state_dict({"n_averaged": torch.tensor(2), **older})
    ema.update_parameters(net)
    assert float(ema.module.weight) == pytest.approx(18 * 2 / 12 + 12 * 10 / 12, rel=1e-12)
