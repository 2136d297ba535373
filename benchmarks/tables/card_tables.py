"""The tables of the weights' cards: figures, honesty and groups on both data sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.script import Results, Tables, markdown
from benchmarks.tables.quality_tables import percent
from edgeface.evaluation.metrics import AGE_BANDS
from edgeface.spec.model import GENDERS, RACES

_SETS = ("UTKFace fold 1", "FairFace folds 0, 1")
_OF_OTHERS = "_by_fairface"
_NOTHING = "–"


def card(results: Mapping[str, Results]) -> Tables:
    """``card_figures``, ``card_honesty``, ``card_groups`` and ``card_cells`` of the default weights."""
    return _tables("card", results)


def fairface_card(results: Mapping[str, Results]) -> Tables:
    """The same of the weights that learned from FairFace alone, by names that begin with ``fairface_card``."""
    return _tables("fairface_card", {name.removesuffix(_OF_OTHERS): found for name, found in results.items()})


def _tables(prefix: str, results: Mapping[str, Results]) -> Tables:
    utkface, fairface = results["evaluate_utkface"], results["evaluate_fairface"]
    honest = [_honesty(results[f"honesty_{data}"]) for data in ("utkface", "fairface")]
    return {
        f"{prefix}_figures": markdown(("", *_SETS), _figures(utkface, fairface)),
        f"{prefix}_honesty": markdown(("", *_SETS), _honest_rows(*honest)),
        f"{prefix}_groups": markdown(
            ("", "n", "age MAE", "gender", "race", "n", "age ±1 interval", "gender", "race"),
            _group_rows(utkface["groups"], fairface["groups"]),
        ),
        f"{prefix}_cells": markdown(
            ("", *AGE_BANDS), _cell_rows(*(found["groups"]["gender_race_age"] for found in (utkface, fairface)))
        ),
    }


def _figures(utkface: Results, fairface: Results) -> list[tuple[str, str, str]]:
    both = (utkface, fairface)
    hit, near = percent(fairface["age_interval_accuracy"]), percent(fairface["age_interval_within1"])

    def row(name: str, text: Iterable[str]) -> tuple[str, str, str]:
        first, second = text
        return name, first, second

    return [
        row("pictures", (f"{found['n']:,}" for found in both)),
        row("faces the detector missed (centre crop instead)",
            (f"{found['missed_detections']} ({percent(found['missed_detections'] / found['n'])})" for found in both)),
        ("age: mean absolute error, years", f"**{utkface['age_mae']:.2f}**", ""),
        ("age: root mean squared error, years", f"{utkface['age_rmse']:.2f}", ""),
        ("age: within 5 years", percent(utkface["age_cs5"]), ""),
        ("age interval: hit / hit or neighbour", "", f"{hit} / **{near}**"),
        row("gender: accuracy", (f"**{percent(found['gender_accuracy'])}**" for found in both)),
        row("gender: F1 (female)", (f"{found['gender_f1']:.3f}" for found in both)),
        row("race, five classes: accuracy", (f"**{percent(found['race_accuracy'])}**" for found in both)),
        row("race: macro F1", (f"{found['race_f1']:.3f}" for found in both)),
        *(row(f"race: recall {race}", (percent(found["race_recalls"][race]) for found in both)) for race in RACES),
    ]  # fmt: skip


def _honesty(report: Results) -> Mapping[str, Any]:
    """Of the one model on the one set in a file of ``python -m trainer evaluate``."""
    ((judged,),) = (found.values() for found in report["results"].values())
    honesty: Mapping[str, Any] = judged["honesty"]
    return honesty


def _honest_rows(utkface: Mapping[str, Any], fairface: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    groups = {**utkface["age"]["groups"]["gender"], **utkface["age"]["groups"]["race"]}
    return [
        ("90 % age interval holds the age", percent(utkface["age"]["coverage90"]), ""),
        *((f"… {name}", percent(groups[name]), "") for name in (*GENDERS, *RACES)),
        *((f"expected calibration error, {head}", f"{utkface[head]['ece']:.3f}", f"{fairface[head]['ece']:.3f}")
          for head in ("gender", "race")),
    ]  # fmt: skip


def _group_rows(utkface: Mapping[str, Any], fairface: Mapping[str, Any]) -> list[tuple[str, ...]]:
    names = [("gender", name) for name in GENDERS] + [("race", name) for name in RACES]
    return [
        (name, *_group(utkface[kind].get(name), "age_mae"), *_group(fairface[kind].get(name), "age_interval_within1"))
        for kind, name in [*names, *(("age", band) for band in AGE_BANDS)]
    ]


def _group(found: Mapping[str, float] | None, age: str) -> tuple[str, str, str, str]:
    if not found:
        return "0", _NOTHING, _NOTHING, _NOTHING
    years = f"{found[age]:.2f}" if age == "age_mae" else f"{100 * found[age]:.1f}"
    gender, race = (f"{100 * found[f'{head}_accuracy']:.1f}" for head in ("gender", "race"))
    return str(found["n"]), years, gender, race


def _cell_rows(utkface: Mapping[str, Any], fairface: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (f"{gender} {race}", *(_cell([found.get(f"{gender} {race} {band}") for found in (utkface, fairface)])
                               for band in AGE_BANDS))
        for gender in GENDERS for race in RACES
    ]  # fmt: skip


def _cell(found: list[Mapping[str, float] | None]) -> str:
    """Age error on UTKFace / gender / race over both sets (faces)."""
    here = [group for group in found if group]
    count = sum(group["n"] for group in here)
    if not count:
        return _NOTHING
    shares = (sum(group["n"] * group[f"{head}_accuracy"] for group in here) / count for head in ("gender", "race"))
    years = f"{found[0]['age_mae']:.1f}" if found[0] else _NOTHING
    return " / ".join([years, *(f"{100 * share:.0f}" for share in shares)]) + f" ({count:.0f})"
