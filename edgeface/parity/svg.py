"""Charts as inline SVG, without a plotting library: bars with intervals, and a histogram."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

_WIDTH, _LABELS, _NOTES, _ROW, _TOP, _AXIS = 860, 230, 110, 20, 8, 34
_BAR, _BAD, _LINE, _TEXT = "#5b84b1", "#c0392b", "#30343b", "#30343b"


class Bar(NamedTuple):
    """A row: its value, the interval around it (``None``: none), a note at the right, and whether it breaks a bound."""

    label: str
    value: float
    interval: tuple[float, float] | None = None
    note: str = ""
    bad: bool = False


def bars(rows: Sequence[Bar], unit: str, bound: float | None = None) -> str:
    """Horizontal bars from zero; ``bound`` is a dashed line. One ``<svg>``; empty without rows."""
    if not rows:
        return ""
    ends = [0.0, *(row.value for row in rows), *(end for row in rows for end in row.interval or ())]
    ends += [] if bound is None else [bound]
    scale = _Scale(min(ends), max(ends))
    height = _TOP + _ROW * len(rows) + _AXIS
    parts = [scale.grid(_TOP, _ROW * len(rows), unit)]
    for number, row in enumerate(rows):
        parts.append(_bar(row, _TOP + number * _ROW, scale))
    if bound is not None:
        at = scale(bound)
        line = f'<line x1="{at}" x2="{at}" y1="{_TOP}" y2="{_TOP + _ROW * len(rows)}" stroke="{_BAD}"'
        parts.append(line + ' stroke-dasharray="4 3"/>')
    return _svg(height, parts)


def histogram(edges: Sequence[float], counts: Sequence[int], unit: str) -> str:
    """Counts between ``edges`` as columns, on a logarithmic scale, so that a few strays stay visible. One ``<svg>``."""
    scale, tall = _Scale(edges[0], edges[-1]), 170
    top = math.log1p(max([*counts, 1]))
    parts = [scale.grid(_TOP, tall, unit)]
    for left, right, count in zip(edges, edges[1:], counts):
        if count:
            high = tall * math.log1p(count) / top
            x, width = scale(left), max(scale(right) - scale(left) - 1, 1)
            shape = f'<rect x="{x}" y="{_TOP + tall - high:.1f}" width="{width:.1f}" height="{high:.1f}" fill="{_BAR}">'
            parts.append(f"{shape}<title>{left:g} to {right:g} {escape(unit)}: {count} faces</title></rect>")
    for count in [10**power for power in range(6) if 10**power <= max(counts, default=0)]:
        y = _TOP + tall * (1 - math.log1p(count) / top)
        parts.append(_text(_LABELS - 8, y + 4, f"{count}", "end"))
    return _svg(_TOP + tall + _AXIS, parts)


class _Scale:
    """Values to pixels from left to right, with round ticks."""

    def __init__(self, low: float, high: float) -> None:
        span = (high - low) or 1.0
        self._low, self._high = low - 0.02 * span, high + 0.02 * span
        step = 10 ** math.floor(math.log10(span / 4))
        self._step = next(step * factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 8)

    def __call__(self, value: float) -> float:
        width = _WIDTH - _LABELS - _NOTES
        return round(_LABELS + width * (value - self._low) / (self._high - self._low), 1)

    def grid(self, top: float, height: float, unit: str) -> str:
        """Ticks below, lines behind, zero in bold."""
        first, last = math.ceil(self._low / self._step), math.floor(self._high / self._step)
        parts = []
        for number in range(first, last + 1):
            at, colour = self(number * self._step), _LINE if number == 0 else "#dfe3e8"
            parts.append(f'<line x1="{at}" x2="{at}" y1="{top}" y2="{top + height}" stroke="{colour}"/>')
            parts.append(_text(at, top + height + 14, f"{number * self._step:g}", "middle"))
        parts.append(_text((_LABELS + _WIDTH - _NOTES) / 2, top + height + 29, unit, "middle"))
        return "".join(parts)


def _bar(row: Bar, top: float, scale: _Scale) -> str:
    middle, colour = top + _ROW / 2, _BAD if row.bad else _BAR
    left, right = sorted((scale(0.0), scale(row.value)))
    parts = [
        _text(_LABELS - 8, middle + 4, row.label, "end"),
        f'<rect x="{left}" y="{top + 4}" width="{max(right - left, 1):.1f}" height="{_ROW - 8}" fill="{colour}"/>',
        _text(_WIDTH - _NOTES + 8, middle + 4, row.note, "start"),
    ]
    if row.interval is not None:
        low, high = (scale(end) for end in row.interval)
        parts.append(f'<line x1="{low}" x2="{high}" y1="{middle}" y2="{middle}" stroke="{_LINE}"/>')
        parts += [
            f'<line x1="{at}" x2="{at}" y1="{middle - 4}" y2="{middle + 4}" stroke="{_LINE}"/>' for at in (low, high)
        ]
    return "".join(parts)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    style = f'font-size="12" font-family="sans-serif" fill="{_TEXT}" text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'


def _svg(height: float, parts: Sequence[str]) -> str:
    box = f'viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" height="{height:.0f}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img">{"".join(parts)}</svg>'
