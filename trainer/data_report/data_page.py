"""The data report as a page: tables, and the images that a person should look at."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from html import escape

import numpy as np

from edgeface.common.html import Table, document, table
from edgeface.types import Image
from trainer.data.samples import Samples
from trainer.data_report.findings import SHOWN, DataReport, LookAlike, Oddity

_THUMBNAIL_PX = 96
_STYLE = (
    "<style>figure{display:inline-block;margin:.3em;width:104px;vertical-align:top;font-size:11px;line-height:1.3}"
    "figure.pair{width:204px}figcaption{overflow-wrap:anywhere}</style>"
)


def page(report: DataReport, samples: Samples) -> str:
    """The whole page as text. Images are the crops of ``samples``, inside the page as JPEG."""
    crops = {str(name): row for row, name in enumerate(samples.name)}
    parts = [_STYLE, *_tables(report), *_faults(report)]
    title = f"{len(report.look_alikes)} images nearly equal one of a fold they must not help to answer"
    if len(report.look_alikes) > SHOWN:
        title += f" (the nearest {SHOWN} shown)"
    parts += [f"<h2>{title}</h2>", *_pairs(report.look_alikes[:SHOWN], crops, samples)]
    for title, found in report.odd.items():
        shown = f", {SHOWN} shown" if len(found) > SHOWN else ""
        parts += [f"<h2>Labels: {escape(title)} ({len(found)}{shown})</h2>", *_singles(found[:SHOWN], crops, samples)]
    return document("Data report", parts)


def _tables(report: DataReport) -> Iterator[str]:
    for axis in ("fold", "gender", "race", "age"):
        names = list(dict.fromkeys(name for counts in report.counts.values() for name in counts[axis]))
        rows = [
            (source, *(str(counts[axis].get(name, 0)) for name in names)) for source, counts in report.counts.items()
        ]
        yield table(Table(f"Images by {axis}", ("", *names), rows))
    rows = [
        (source, *(str(len(found[source])) for found in (report.malformed, report.unreadable)), str(missed))
        for source, missed in report.missed.items()
    ]
    yield table(Table("Faults", ("", "malformed names", "unreadable", "no face detected (centre crop)"), rows))


def _faults(report: DataReport) -> Iterator[str]:
    for kind, found in (("malformed", report.malformed), ("unreadable", report.unreadable)):
        names = [f"{source}: {name}" for source, listed in found.items() for name in listed]
        if names:
            more = f"<li>and {len(names) - SHOWN} more, see data.json</li>" if len(names) > SHOWN else ""
            items = "".join(f"<li>{escape(name)}</li>" for name in names[:SHOWN])
            yield f"<h2>{kind.capitalize()}</h2><ul>{items}{more}</ul>"


def _pairs(found: Sequence[LookAlike], crops: dict[str, int], samples: Samples) -> Iterator[str]:
    for item in found:
        there = [samples.pixels[crops[name]] for name in (item.name, item.like) if name in crops]
        if there:
            text = f"{_short(item.name)} (fold {item.fold}) and {_short(item.like)} (fold {item.like_fold}): "
            yield _figure(np.concatenate(there, axis=1), f"{text}{item.distance:g} levels", "pair")


def _singles(found: Iterable[Oddity], crops: dict[str, int], samples: Samples) -> Iterator[str]:
    for item in found:
        answer = f", answered {item.answer}" if item.answer else ""
        text = f"{_short(item.name)} (fold {item.fold}): labelled {item.said}{answer}"
        yield _figure(samples.pixels[crops[item.name]], text, "")


def _figure(image: Image, caption: str, kind: str) -> str:
    """An image at thumbnail height with a caption below."""
    import cv2

    width = round(image.shape[1] * _THUMBNAIL_PX / image.shape[0])
    small = cv2.resize(image, (width, _THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    coded = base64.b64encode(cv2.imencode(".jpg", small[..., ::-1])[1].tobytes()).decode()
    image_tag = f'<img src="data:image/jpeg;base64,{coded}" width="{width}" height="{_THUMBNAIL_PX}" alt="">'
    return f'<figure class="{kind}">{image_tag}<figcaption>{escape(caption)}</figcaption></figure>'


def _short(name: str) -> str:
    return name.rsplit("/", 1)[-1].partition(".")[0]
