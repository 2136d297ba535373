"""HDR as a screen of standard range shows it: against the standards' own figures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.imaging.tone_mapping import HLG, PQ, _compressed, _from_hlg, _from_pq, _to_pq, to_standard_range


def grey(code: float, transfer: int, white: int = 65535) -> int:
    found = to_standard_range(np.full((1, 1, 3), round(white * code), np.uint16), transfer, white=white)
    assert np.ptp(found) <= 1, "grey stays grey"
    return int(found[0, 0, 0])


def test_pq_is_smpte_st_2084() -> None:
    """Table of Report ITU-R BT.2390 and BT.2408: 100 cd/m² at 50.8 %, 203 at 58.1 %, 1000 at 75.2 %."""
    np.testing.assert_allclose(_to_pq(np.array([100.0, 203.0, 1000.0, 10_000.0])), [0.508, 0.581, 0.752, 1], atol=5e-4)
    light = np.array([0.0, 0.1, 5.0, 203.0, 4000.0])
    np.testing.assert_allclose(_from_pq(_to_pq(light)), light, atol=1e-6)


def test_hlg_is_arib_std_b67() -> None:
    np.testing.assert_allclose(_from_hlg(np.array([0.0, 0.5, 1.0])), [0, 1 / 12, 1], atol=1e-4)


def test_the_curve_leaves_shadows_and_ends_at_white() -> None:
    """Straight up to its knee (88 cd/m²), then ever flatter, never falling, up to 203 cd/m² at 1000."""
    light = np.linspace(0, 1000, 2001)
    shown = _compressed(light)
    np.testing.assert_allclose(shown[light < 87], light[light < 87], atol=1e-6)
    assert (np.diff(shown) >= 0).all() and (shown <= light + 1e-6).all()
    assert shown[-1] == pytest.approx(203) and float(_compressed(np.array([9000.0]))[0]) == pytest.approx(203)


@pytest.mark.parametrize(("transfer", "code"), [(PQ, 0.7518), (HLG, 1.0)])
def test_the_peak_is_white_and_black_is_black(transfer: int, code: float) -> None:
    assert grey(code, transfer) >= 254 and grey(0, transfer) == 0
    assert grey(code, transfer, white=1023) >= 253, "of 10 bits as well"


def test_both_kinds_of_hdr_show_the_same_light_alike() -> None:
    """BT.2408's diffuse white: 58 % of PQ, 75 % of HLG."""
    assert abs(grey(0.5807, PQ) - grey(0.75, HLG)) <= 2


@given(st.lists(st.integers(0, 65535), min_size=3, max_size=3), st.sampled_from([PQ, HLG]), st.sampled_from([1, 9, 12]))
def test_any_colour_is_shown_and_its_strongest_channel_stays_so(code: list[int], transfer: int, primaries: int) -> None:
    found = to_standard_range(np.array([[code]], np.uint16), transfer, primaries)
    assert found.dtype == np.uint8 and found.shape == (1, 1, 3)
    assert found[0, 0].max() == found[0, 0, int(np.argmax(code))]
