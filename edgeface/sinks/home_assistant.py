"""Home Assistant's MQTT discovery: what makes a source appear there as a device with sensors, by itself.

Topic ``PREFIX/sensor/OBJECT_ID/config`` and its JSON as in Home Assistant's documentation of MQTT sensors
(https://www.home-assistant.io/integrations/sensor.mqtt/ and …/mqtt/#mqtt-discovery).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgeface import __version__

_LONGEST = 48


@dataclass(frozen=True)
class Entity:
    """A sensor: the ``field`` of the message that it shows under ``name``."""

    field: str
    name: str
    unit: str
    icon: str
    state_class: str | None = "measurement"


STATE = (
    Entity("faces", "Faces in view", "faces", "mdi:face-recognition"),
    Entity("people", "People seen", "people", "mdi:account-multiple", "total_increasing"),
    Entity("age_mean", "Mean age in view", "y", "mdi:cake-variant"),
    Entity("female", "Women in view", "people", "mdi:human-female"),
    Entity("male", "Men in view", "people", "mdi:human-male"),
)
COUNTS = (Entity("people", "People in the last interval", "people", "mdi:account-multiple"),)


def configurations(
    prefix: str, topic: str, source: str, leaf: str, entities: tuple[Entity, ...]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Discovery topics and payloads, to be retained, for a source whose messages come on TOPIC/SOURCE/LEAF.

    A value of null shows as unknown; so does everything once edgeface is ``offline``.
    """
    device = f"edgeface_{slug(topic)}_{slug(source)}"
    for entity in entities:
        unique = f"{device}_{leaf}_{entity.field}"
        payload: dict[str, Any] = {
            "name": entity.name,
            "unique_id": unique,
            "state_topic": f"{topic}/{slug(source)}/{leaf}",
            "value_template": f"{{{{ value_json.{entity.field} }}}}",
            "unit_of_measurement": entity.unit,
            "icon": entity.icon,
            "availability_topic": f"{topic}/availability",
            "device": {
                "identifiers": [device],
                "name": f"edgeface {source.partition('://')[2] or source.rpartition('/')[2] or source}",
                "manufacturer": "edgeface",
                "model": "face analysis",
                "sw_version": __version__,
            },
            "origin": {"name": "edgeface", "sw_version": __version__},
        }
        if entity.state_class:
            payload["state_class"] = entity.state_class
        yield f"{prefix}/sensor/{unique}/config", payload


def slug(text: str) -> str:
    """A topic's level, or part of an identifier, for any text: ``[a-zA-Z0-9_-]``, different texts different."""
    plain = re.sub(r"[^a-zA-Z0-9]+", "-", text).strip("-")
    if text and plain == text and len(text) <= _LONGEST:
        return plain
    return f"{plain[-_LONGEST:].strip('-') or 'source'}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
