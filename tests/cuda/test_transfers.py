"""The copy ledger: what it counts, where, and what it refuses."""

from __future__ import annotations

import pytest

from edgeface.cuda.transfers import ACROSS, DOWN, LAUNCH, NO_UPLOAD, ONE_COPY, UP, WAIT, Budget, CopyLedger
from edgeface.errors import BackendError


def one_frame(ledger: CopyLedger) -> None:
    with ledger.frame():
        with ledger.stage("upload"):
            ledger.record(UP, 600)
        with ledger.stage("download"):
            ledger.record(DOWN, 40)
        ledger.record(WAIT)


def test_a_frame_counts_calls_and_bytes_by_kind_and_stage() -> None:
    ledger = CopyLedger()
    ledger.record(UP, 5)
    one_frame(ledger)
    (frame,) = ledger.frames
    assert (frame.calls(UP), frame.bytes(UP), frame.calls(DOWN), frame.calls(WAIT)) == (1, 600, 1, 1)
    assert frame.calls(UP, "upload") == 1 and frame.calls(UP, "download") == 0
    assert frame.to_dict()[DOWN] == {"calls": 1, "bytes": 40}
    assert ledger.outside.bytes(UP) == 5 and ledger.count == 1


def test_what_a_graph_captured_counts_at_every_launch() -> None:
    ledger = CopyLedger()
    with ledger.frame(), ledger.capturing() as copies, ledger.stage("download"):
        ledger.record(DOWN, 40)
    assert ledger.frames[0].calls(DOWN) == 0
    for _ in range(2):
        with ledger.frame():
            ledger.replay(copies)
    assert [frame.bytes(DOWN, "download") for frame in ledger.frames] == [0, 40, 40]
    assert ledger.frames[-1].calls(LAUNCH) == 1
    assert ledger.per_frame()[DOWN] == {"calls": 2 / 3, "bytes": 80 / 3}


def test_a_budget_names_what_breaks_it() -> None:
    ledger = CopyLedger()
    one_frame(ledger)
    ONE_COPY.check(ledger.frames[-1])
    with pytest.raises(BackendError, match="budget of host_to_device is 0, found 1 .in upload."):
        NO_UPLOAD.check(ledger.frames[-1])
    with ledger.frame() as frame:
        ledger.record(ACROSS, 1)
    with pytest.raises(BackendError, match="device_to_device is 0, found 1"):
        ONE_COPY.check(frame)
    Budget({ACROSS: 1}).check(frame)


def test_a_frame_that_fails_is_kept_and_ends() -> None:
    ledger = CopyLedger()
    with pytest.raises(ZeroDivisionError), ledger.frame():
        ledger.record(UP, 1)
        raise ZeroDivisionError
    one_frame(ledger)
    assert [frame.bytes(UP) for frame in ledger.frames] == [1, 600]


def test_frames_do_not_nest() -> None:
    ledger = CopyLedger()
    with pytest.raises(BackendError, match="has not ended"), ledger.frame(), ledger.frame():
        pass


def test_memory_is_bounded_and_the_count_goes_on() -> None:
    ledger = CopyLedger()
    for _ in range(3000):
        one_frame(ledger)
    assert ledger.count == 3000 and len(ledger.frames) < 3000
    assert ledger.per_frame()[UP] == {"calls": 1, "bytes": 600}
