"""The copy ledger: what it counts, where, and what it refuses."""

from __future__ import annotations

import pytest

from edgeface.cuda.transfers import D2D, D2H, H2D, LAUNCH, NO_UPLOAD, ONE_COPY, WAIT, Budget, TransferStats
from edgeface.errors import BackendError


def one_frame(ledger: TransferStats) -> None:
    with ledger.frame():
        with ledger.stage("upload"):
            ledger.record(H2D, 600)
        with ledger.stage("download"):
            ledger.record(D2H, 40)
        ledger.record(WAIT)


def test_a_frame_counts_calls_and_bytes_by_kind_and_stage() -> None:
    ledger = TransferStats()
    ledger.record(H2D, 5)
    one_frame(ledger)
    (frame,) = ledger.frames
    assert (frame.calls(H2D), frame.bytes(H2D), frame.calls(D2H), frame.calls(WAIT)) == (1, 600, 1, 1)
    assert frame.calls(H2D, "upload") == 1 and frame.calls(H2D, "download") == 0
    assert frame.to_dict()[D2H] == {"calls": 1, "bytes": 40}
    assert ledger.outside.bytes(H2D) == 5 and ledger.count == 1


def test_what_a_graph_captured_counts_at_every_launch() -> None:
    ledger = TransferStats()
    with ledger.frame(), ledger.capturing() as copies, ledger.stage("download"):
        ledger.record(D2H, 40)
    assert ledger.frames[0].calls(D2H) == 0
    for _ in range(2):
        with ledger.frame():
            ledger.replay(copies)
    assert [frame.bytes(D2H, "download") for frame in ledger.frames] == [0, 40, 40]
    assert ledger.frames[-1].calls(LAUNCH) == 1
    assert ledger.per_frame()[D2H] == {"calls": 2 / 3, "bytes": 80 / 3}


def test_a_budget_names_what_breaks_it() -> None:
    ledger = TransferStats()
    one_frame(ledger)
    ONE_COPY.check(ledger.frames[-1])
    with pytest.raises(BackendError, match="budget of host_to_device is 0, found 1 .in upload."):
        NO_UPLOAD.check(ledger.frames[-1])
    with ledger.frame() as frame:
        ledger.record(D2D, 1)
    with pytest.raises(BackendError, match="device_to_device is 0, found 1"):
        ONE_COPY.check(frame)
    Budget({D2D: 1}).check(frame)


def test_a_frame_that_fails_is_kept_and_ends() -> None:
    ledger = TransferStats()
    with pytest.raises(ZeroDivisionError), ledger.frame():
        ledger.record(H2D, 1)
        raise ZeroDivisionError
    one_frame(ledger)
    assert [frame.bytes(H2D) for frame in ledger.frames] == [1, 600]


def test_frames_do_not_nest() -> None:
    ledger = TransferStats()
    with pytest.raises(BackendError, match="has not ended"), ledger.frame(), ledger.frame():
        pass


def test_memory_is_bounded_and_the_count_goes_on() -> None:
    ledger = TransferStats()
    for _ in range(3000):
        one_frame(ledger)
    assert ledger.count == 3000 and len(ledger.frames) < 3000
    assert ledger.per_frame()[H2D] == {"calls": 1, "bytes": 600}
