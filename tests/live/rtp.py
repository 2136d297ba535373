"""H.264 in RTP packets (RFC 6184): units that fit as they are, larger ones in fragments (FU-A)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

_LARGEST = 1400
_FU_A = 28


def annex_b_units(data: bytes) -> list[bytes]:
    """The NAL units between start codes."""
    return [unit.rstrip(b"\0") for unit in re.split(rb"\x00\x00\x00?\x01", data) if unit.strip(b"\0")]


class RtpPacker:
    """Packets of payload type 96 with growing numbers."""

    def __init__(self) -> None:
        self._number = 0

    def pack(self, units: list[bytes], ticks: int) -> Iterator[bytes]:
        """The packets of one image taken at ``ticks`` of 90 kHz; the last one is marked."""
        payloads = [payload for unit in units for payload in self._payloads(unit)]
        for place, payload in enumerate(payloads):
            mark = 0x80 if place == len(payloads) - 1 else 0
            yield struct.pack(">BBHII", 0x80, mark | 96, self._number & 0xFFFF, ticks & 0xFFFFFFFF, 1) + payload
            self._number += 1

    def _payloads(self, unit: bytes) -> Iterator[bytes]:
        if len(unit) <= _LARGEST:
            yield unit
            return
        body = unit[1:]
        for at in range(0, len(body), _LARGEST):
            start, end = at == 0, at + _LARGEST >= len(body)
            indicator = (unit[0] & 0xE0) | _FU_A
            yield bytes([indicator, start << 7 | end << 6 | unit[0] & 0x1F]) + body[at : at + _LARGEST]
