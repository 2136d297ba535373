"""Context, buffers, streams, graphs and errors on the emulated driver."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import numpy as np
import pytest

from edgeface.cuda.context import Context, DeviceBuffer, Kernels, PinnedBuffer, current_context
from edgeface.cuda.driver import Driver
from edgeface.cuda.stream import Event, Stream
from edgeface.cuda.structs import ARGUMENTS, arguments
from edgeface.cuda.transfers import D2H, H2D, WAIT
from edgeface.errors import BackendError
from tests.cuda import emulated


def test_bytes_go_up_across_and_down() -> None:
    with emulated.context() as context:
        stream, host, back = Stream(context), PinnedBuffer(context, 100), PinnedBuffer(context, 100)
        first, second = DeviceBuffer(context, 100), DeviceBuffer(context, 100)
        host.array[:] = np.arange(100)
        stream.upload(first.address, host, 100)
        stream.copy(second.address, first.address, 100)
        stream.clear(second.address, 2)
        stream.download(back, second.address, 100)
        assert back.array[50] != 50, "nothing is there before the wait"
        stream.synchronize()
        assert back.array.tolist() == [0] * 8 + list(range(8, 100))
        assert [context.ledger.outside.calls(kind) for kind in (H2D, D2H, WAIT)] == [1, 1, 1]


def test_everything_is_freed_also_after_an_exception() -> None:
    with pytest.raises(ZeroDivisionError), emulated.context() as context:
        stream = Stream(context)
        DeviceBuffer(context, 10), PinnedBuffer(context, 10), Event(context)
        Kernels(context, emulated.IMAGE, tuple(ARGUMENTS))
        with stream.capture():
            raise ZeroDivisionError
    assert emulated.alive() == 0


def test_what_was_freed_by_hand_is_not_freed_again() -> None:
    context = emulated.context()
    buffer = DeviceBuffer(context, 10)
    buffer.free()
    buffer.free()
    context.close()
    context.close()
    assert emulated.alive() == 0


def test_what_cannot_be_freed_holds_up_nothing_else() -> None:
    context = emulated.context()
    DeviceBuffer(context, 10), Stream(context)

    def refuse() -> None:
        raise BackendError("the driver refuses everything after a failed kernel")

    context.on_close(refuse)
    context.close()
    assert emulated.alive() == 0


def test_another_thread_may_not_close() -> None:
    found: list[BaseException] = []

    def close(context: Context) -> None:
        try:
            context.close()
        except BackendError as error:
            found.append(error)

    with emulated.context() as context:
        buffer = DeviceBuffer(context, 10)
        thread = threading.Thread(target=close, args=(context,))
        thread.start()
        thread.join()
        assert "close it there" in str(found[0])
        buffer.free()
    assert emulated.alive() == 0


def test_a_context_is_current_for_a_while() -> None:
    with pytest.raises(ZeroDivisionError), current_context(0, emulated.driver()):
        assert emulated.alive() == 2, "retained and pushed"
        raise ZeroDivisionError
    assert emulated.alive() == 0


def test_a_capture_is_spoilt_by_an_allocation_and_the_stream_goes_on() -> None:
    with emulated.context() as context:
        stream, buffer = Stream(context), DeviceBuffer(context, 8)
        with pytest.raises(BackendError), stream.capture():
            stream.clear(buffer.address, 2)
            DeviceBuffer(context, 8)
        with stream.capture() as made:
            assert not gc.isenabled(), "the collector might free someone's tensor"
            stream.clear(buffer.address, 2)
        assert gc.isenabled()
        stream.launch_graph(made[0])
        stream.synchronize()


def test_a_stream_waits_for_another_ones_work() -> None:
    with emulated.context() as context:
        ours, theirs = Stream(context), Stream(context)
        buffer, host, back = DeviceBuffer(context, 8), PinnedBuffer(context, 8), PinnedBuffer(context, 8)
        host.array[:] = 7
        theirs.upload(buffer.address, host, 8)
        ours.wait_for(theirs.handle)
        ours.download(back, buffer.address, 8)
        ours.synchronize()
        assert back.array.tolist() == [7] * 8
        assert context.ledger.outside.calls(WAIT) == 1


def test_a_full_gpu_is_one_sentence_and_leaves_nothing() -> None:
    with emulated.context() as context:
        emulated.library().emulated_limit(1000)
        try:
            full = "cuMemAlloc.* failed with CUDA_ERROR_OUT_OF_MEMORY.*memory is full"
            with pytest.raises(BackendError, match=full), context.all_or_nothing():
                DeviceBuffer(context, 600)
                DeviceBuffer(context, 600)
            assert context.free_bytes() == 1000
        finally:
            emulated.library().emulated_limit(1 << 32)
        DeviceBuffer(context, 2000)
    assert emulated.alive() == 0


def test_another_thread_is_refused() -> None:
    found: list[BaseException] = []

    def work(context: Context) -> None:
        try:
            DeviceBuffer(context, 1)
        except BackendError as error:
            found.append(error)

    with emulated.context() as context:
        thread = threading.Thread(target=work, args=(context,))
        thread.start()
        thread.join()
    assert "belongs to the thread that made it" in str(found[0])
    with pytest.raises(BackendError, match="closed"):
        DeviceBuffer(context, 1)


def test_a_graph_does_its_work_at_every_launch() -> None:
    with emulated.context() as context:
        stream, pinned, buffer = Stream(context), PinnedBuffer(context, 8), DeviceBuffer(context, 8)
        pinned.array[:] = 7
        with stream.capture() as made:
            stream.download(pinned, buffer.address, 8)
            stream.clear(buffer.address, 2)
        stream.synchronize()
        assert (pinned.array == 7).all(), "capturing runs nothing"
        (graph,) = made
        for expected in (0xA5, 0):
            stream.launch_graph(graph)
            stream.synchronize()
            assert (pinned.array == expected).all()
        assert context.ledger.outside.bytes(D2H) == 16
        graph.free()
    assert emulated.alive() == 0


def test_events_measure_what_lies_between() -> None:
    with emulated.context() as context:
        stream, first, second = Stream(context), Event(context), Event(context)
        stream.record(first)
        stream.record(second)
        stream.synchronize()
        assert second.ms_since(first) > 0


def test_kernels_for_another_gpu_are_refused() -> None:
    with emulated.context() as context:
        with pytest.raises(BackendError, match="cuModuleLoadData failed.*for another GPU"):
            Kernels(context, b"something else", ("halve",))
        with pytest.raises(BackendError, match="cuModuleGetFunction failed"):
            Kernels(context, emulated.IMAGE, ("no such kernel",))
    assert emulated.alive() == 0


def test_no_driver_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="no NVIDIA GPU with its driver here.*cannot be loaded .*libcuda.so.1"):
        Driver(str(tmp_path / "libcuda.so.1"))


def test_an_old_driver_is_one_sentence() -> None:
    emulated.library().emulated_version(10020)
    try:
        with pytest.raises(BackendError, match=r"runs CUDA 10\.2, expected 11\.4 or newer: update the driver"):
            emulated.driver()
    finally:
        emulated.library().emulated_version(12040)
    assert emulated.driver().version == "12.4"


def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(BackendError, match="no GPU 3 here: found 1, counted from 0"):
        Context(3, emulated.driver())
    assert emulated.alive() == 0


@pytest.mark.parametrize("kernel", ARGUMENTS)
def test_structs_are_as_long_as_the_compiler_makes_them(kernel: str) -> None:
    assert ARGUMENTS[kernel].itemsize == emulated.library().emulated_argument_bytes(kernel.encode())


def test_an_argument_left_out_is_noticed() -> None:
    with pytest.raises(KeyError, match="below"):
        arguments("halve", above=(0, 1, 1, 3))
