"""Write the data report: a page, its figures, and the list of images to leave out."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from edgeface.common.files import atomic_path
from edgeface.types import Attributes
from trainer.config import Config
from trainer.data.samples import SOURCES, Samples, face_sets, load_samples
from trainer.data_report.data_page import page
from trainer.data_report.findings import DataReport, counts_by_group, exclude_list, find_look_alikes, odd_labels


def write_data_report(config: Config, out: Path, model: Path | None = None) -> Path:
    """Write ``data.html``, ``data.json`` and ``near-duplicates.txt`` into ``out``; returns the page's path.

    ``model`` is a checkpoint whose disagreements with the labels are shown; without one only extreme ages are. Its
    crops have to be cut as the recipe's are.
    """
    from trainer.log import Log

    with Log(out, resume=True, board=False) as log, log.bar("pictures") as advance:
        loaded = load_samples(config, advance)
        look_alikes = find_look_alikes(face_sets(config))
    answers = None if model is None else _answers(model, config, loaded.samples)
    report = DataReport(
        counts={
            source: counts_by_group(loaded.samples, code)
            for code, source in enumerate(SOURCES)
            if source in loaded.missed
        },
        malformed=loaded.skipped,
        unreadable=loaded.unreadable,
        missed=loaded.missed,
        look_alikes=look_alikes,
        odd=odd_labels(loaded.samples, answers),
    )
    _write(out / "data.json", json.dumps(asdict(report), indent=1) + "\n")
    _write(out / "near-duplicates.txt", exclude_list(look_alikes))
    _write(out / "data.html", page(report, loaded.samples))
    return out / "data.html"


def _answers(model: Path, config: Config, samples: Samples) -> Attributes:
    """What a checkpoint says of every crop. Raises ``ConfigError`` where its crops are cut another way."""
    from edgeface.errors import ConfigError
    from trainer.compute_device import pick_device
    from trainer.models import load_net
    from trainer.models.predictions import attributes_of

    net, trained = load_net(model, pick_device(config.device))
    if (trained.input_size, trained.alignment) != (config.input_size, config.alignment):
        raise ConfigError(
            f"`{model}` sees crops of {trained.input_size} px with eyes {trained.eye_distance} apart, the recipe cuts "
            f"{config.input_size} px and {config.eye_distance}; give the report the model's recipe"
        )
    return attributes_of(net, np.asarray(samples.pixels), pick_device(config.device))


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
