"""Engines from ONNX with TensorRT 8.6, 10 and 11.

Precision is in the graph (Q/DQ, typed float16): the builder is told to take the types as they are, which 8.6, and DLA
builds before 11, need flags for (``_allow_precisions``). What the releases differ in is asked for with ``hasattr``,
never looked up in a table of versions; mypy runs over this file against the real API of each release.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeface.cuda.pycuda_context import find_gpu
from edgeface.errors import BackendError, ConfigError
from edgeface.runtime.trt import Log, bytes_of, load, trt
from edgeface.spec.recipe import Recipe

Shape = tuple[int, ...]
Progress = Callable[[str, int, int], None]
"""Called with the phase's name, the steps done and the steps of all."""
_ARITHMETIC = ("ACTIVATION", "ELEMENTWISE", "MATRIX_MULTIPLY", "REDUCE", "SOFTMAX", "UNARY")
"""Layers that 8.6 may compute in float16 although the graph says float32, unless each is told."""


@dataclass(frozen=True)
class Profile:
    """Smallest, usual and largest shape of an input; tactics are chosen for the usual one."""

    smallest: Shape
    usual: Shape
    largest: Shape


@dataclass(frozen=True)
class Plan:
    """A built engine's bytes, the timing cache for the next build, and what was worth noting on the way.

    ``layers`` counts the engine's layers by the type and format of what they write, as TensorRT names them.
    """

    engine: bytes
    timing_cache: bytes
    notes: tuple[str, ...] = ()
    layers: Mapping[str, int] = field(default_factory=dict)


def build_plan(
    model: Path,
    recipe: Recipe,
    profiles: Mapping[str, Profile],
    timing_cache: bytes = b"",
    progress: Progress | None = None,
) -> Plan:
    """Build an engine of ``model`` for this machine's GPU.

    ``profiles`` gives the shapes of every input with a free size. A ``timing_cache`` of another TensorRT or GPU is left
    aside, with a note. Raises ``ConfigError`` where this TensorRT or GPU lacks what ``recipe`` asks for,
    ``BackendError`` where the model cannot be read or built, ``KeyboardInterrupt`` after Ctrl-C.
    """
    find_gpu()  # without one, TensorRT's builder crashes
    log, notes = Log(), list[str]()
    builder = trt.Builder(log)
    typed = _is_typed(recipe)
    network = builder.create_network(_network_flags(typed))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(model)):
        raise BackendError(f"TensorRT {trt.__version__} cannot read `{model}`: {_parser_errors(parser)}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, recipe.workspace_mb * 2**20)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if not typed:
        _allow_precisions(config, network, recipe.precision)
    _choose_device(builder, config, recipe)
    _choose_compatibility(config, recipe)
    config.add_optimization_profile(_optimization_profile(builder, profiles))
    held = _use_timing_cache(config, timing_cache, notes)
    monitor, stopped_by = _watch(config, progress)
    plan = builder.build_serialized_network(network, config)
    del held, monitor  # until here, since the builder's configuration may not own them
    if stopped_by:
        raise stopped_by[0]
    if plan is None:
        raise BackendError(f"TensorRT {trt.__version__} cannot build `{model}`: {log.reason()}")
    engine = bytes_of(plan)
    return Plan(engine, bytes_of(config.get_timing_cache().serialize()), tuple(notes), _layers(engine, recipe))


def _is_typed(recipe: Recipe) -> bool:
    """Whether the builder takes the graph's types as they are.

    8.6 cannot. DLA builds take precision flags as long as there are any, and types from TensorRT 11 on (NVIDIA,
    "Strongly Typed Networks for DLA").
    """
    by_flags = recipe.dla is not None and hasattr(trt.BuilderFlag, "FP16")
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED") and not by_flags


def _network_flags(typed: bool) -> int:
    flags = 0
    if hasattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH"):  # the only kind there is since 10
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    if typed and hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    return flags


def _allow_precisions(config: trt.IBuilderConfig, network: trt.INetworkDefinition, precision: str) -> None:
    """Where the graph's types are hints only: allow its precisions, and hold the float32 arithmetic of an fp16 graph.

    Of int8 graphs nothing has to be held: what no Q/DQ pair encloses can only be float32 there, and a held Add or Relu
    would not fuse with its convolution.
    """
    if precision == "int8" and hasattr(trt.BuilderFlag, "INT8"):
        config.set_flag(trt.BuilderFlag.INT8)
    if precision != "fp16":
        return
    if hasattr(trt.BuilderFlag, "FP16"):
        config.set_flag(trt.BuilderFlag.FP16)
    if hasattr(trt.BuilderFlag, "OBEY_PRECISION_CONSTRAINTS"):
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    for layer in (network.get_layer(index) for index in range(network.num_layers)):
        if _computes_float32(layer) and hasattr(layer, "precision"):
            layer.precision = trt.DataType.FLOAT


def _computes_float32(layer: trt.ILayer) -> bool:
    return layer.type.name in _ARITHMETIC and layer.get_output(0).dtype == trt.DataType.FLOAT


def _parser_errors(parser: trt.OnnxParser) -> str:
    return "; ".join(_sentence(parser.get_error(index)) for index in range(parser.num_errors)) or "it gives no reason"


def _sentence(error: trt.ParserError) -> str:
    place = f"node {error.node()}"
    if hasattr(error, "node_name"):
        place += f" (`{error.node_name()}`)"
    return f"{place}: {error.desc().strip()}"


def _choose_device(builder: trt.Builder, config: trt.IBuilderConfig, recipe: Recipe) -> None:
    if recipe.dla is None:
        return
    if recipe.dla >= builder.num_DLA_cores:
        found = f"TensorRT {trt.__version__} sees {builder.num_DLA_cores} DLA cores here"
        raise ConfigError(f"dla: core {recipe.dla} is asked for, {found}; leave `dla` out to build for the GPU")
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = recipe.dla
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def _choose_compatibility(config: trt.IBuilderConfig, recipe: Recipe) -> None:
    if recipe.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    level = getattr(trt.HardwareCompatibilityLevel, recipe.hardware_compatible.upper(), None)
    if level is None:
        known = ", ".join(name.lower() for name in trt.HardwareCompatibilityLevel.__members__)
        raise ConfigError(
            f"hardware_compatible: TensorRT {trt.__version__} knows {known}, found `{recipe.hardware_compatible}`"
        )
    config.hardware_compatibility_level = level


def _optimization_profile(builder: trt.Builder, profiles: Mapping[str, Profile]) -> trt.IOptimizationProfile:
    profile = builder.create_optimization_profile()
    for name, shapes in profiles.items():
        profile.set_shape(name, *(trt.Dims(list(shape)) for shape in (shapes.smallest, shapes.usual, shapes.largest)))
    return profile


def _use_timing_cache(config: trt.IBuilderConfig, timing_cache: bytes, notes: list[str]) -> trt.ITimingCache:
    """Tactics' measured times of earlier builds; they hold for one release on one GPU model only."""
    cache = config.create_timing_cache(timing_cache)
    if cache is None or not config.set_timing_cache(cache, False):
        notes.append("the timing cache is of another TensorRT or GPU: it is left aside and written again")
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def _watch(config: trt.IBuilderConfig, progress: Progress | None) -> tuple[object, list[BaseException]]:
    """Report the build's phases where TensorRT can: the monitor, and a list for what stops the build (Ctrl-C).

    An exception that left a callback would end the process, and only ``step_complete`` can stop a build.
    """
    stopped_by: list[BaseException] = []
    if not hasattr(trt, "IProgressMonitor") or not hasattr(config, "progress_monitor"):
        return None, stopped_by

    monitor = trt.IProgressMonitor

    class Monitor(monitor):  # type: ignore[misc, valid-type, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str, num_steps: Any) -> None:
            try:
                self._steps[phase_name] = int(num_steps)
            except BaseException as error:
                stopped_by.append(error)

        def phase_finish(self, phase_name: str) -> None:
            try:
                self._steps.pop(phase_name, None)
            except BaseException as error:
                stopped_by.append(error)

        def step_complete(self, phase_name: str, step: Any) -> bool:
            """False stops the build."""
            try:
                if progress and not stopped_by:
                    progress(phase_name, int(step) + 1, self._steps.get(phase_name, 0))
            except BaseException as error:
                stopped_by.append(error)
            return not stopped_by

    config.progress_monitor = own = Monitor()
    return own, stopped_by


def _layers(engine: bytes, recipe: Recipe) -> dict[str, int]:
    """Layers by what they write ("Int8 NC/32HW32", "Half …"), as far as TensorRT tells."""
    loaded = load(engine, Log(), recipe.version_compatible)
    if loaded is None:
        return {}
    try:
        report = json.loads(loaded.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON))
    except ValueError:  # for people only, so an inspector that writes no JSON costs no engine
        return {}
    layers = [layer for layer in report.get("Layers", ()) if isinstance(layer, dict)]
    return dict(Counter(str(o.get("Format/Datatype", "?")) for layer in layers for o in layer.get("Outputs", ())[:1]))
