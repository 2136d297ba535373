"""The comparison of recipes as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_COLUMNS = ("recipe", "network", "parameters", "MACs", "FP32", "of VGG's time", "INT8", "trained", "ours", "published")


def markdown(result: Mapping[str, Any]) -> str:
    """A heading, the table by falling cost, and how it was measured."""
    rows = sorted(result["recipes"].items(), key=lambda item: -item[1]["fp32"]["ms"])
    machine, evaluated = result["machine"], result.get("evaluated")
    lines = [
        "# Recipes side by side",
        "",
        "| " + " | ".join(_COLUMNS) + " |",
        "|---|---" + "|--:" * 5 + "|---|---|---|",
        *("| " + " | ".join(_row(name, row)) + " |" for name, row in rows),
        "",
        f"Milliseconds a face, batch 1, one thread of {machine['cpu']['name']}, ONNX Runtime {machine['onnxruntime']}, "
        f"all networks in one interleaved run, {machine['date']}; the VGG-style yardstick of "
        f"`benchmarks/studies/vgg_style.py` takes {result['yardstick']['ms']:.2f} ms. A network that is not "
        "trained has random weights, which cost the same.",
    ]
    if evaluated:
        part = f", {evaluated['limit']} faces evenly spread" if evaluated["limit"] else ""
        lines.append(
            f"Ours: UTKFace fold {evaluated['folds']}{part}, through the shipped detector and the recipe's alignment, "
            "one crop a face. A network of few epochs shows that its recipe learns, not how far it gets. Published: "
            "each system's own split, so columns do not compare line by line."
        )
    return "\n".join(lines) + "\n"


def _row(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    times = row["fp32"]["times"]
    return (
        f"`{name}`",
        f"{row['backbone']} at {row['input_size']}",
        f"{row['parameters'] / 1e6:.2f} M",
        f"{row['macs'] / 1e6:,.0f} M",
        f"{row['fp32']['ms']:.2f} ms",
        f"1/{times:.1f}" if times >= 1 else f"{1 / times:.1f} ×",
        f"{row['int8']['ms']:.2f} ms" if row["int8"] else "",
        row.get("trained", "no"),
        _ours(row.get("ours")),
        row["published"] or "",
    )


def _ours(figures: Mapping[str, Any] | None) -> str:
    """The figures that the network has heads for."""
    if figures is None:
        return ""
    parts = [
        ("age MAE {:.2f} y", figures["age_mae"], 1),
        ("RMSE {:.2f} y", figures["age_rmse"], 1),
        ("gender {:.1f} %", figures["gender_accuracy"], 100),
        ("F1 {:.3f}", figures["gender_f1"], 1),
        ("race {:.1f} %", figures["race_accuracy"], 100),
        ("F1 {:.3f}", figures["race_f1"], 1),
        ("six groups {:.1f} %", figures["age_groups_accuracy"], 100),
    ]
    return ", ".join(text.format(value * scale) for text, value, scale in parts if value is not None)
