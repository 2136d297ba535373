"""Results to an MQTT broker, and to Home Assistant by its discovery: ``mqtt://broker/topic``.

Topics under TOPIC/SOURCE: ``state`` (a summary at times), ``faces`` (every result), in privacy mode ``counts`` only.
TOPIC/availability is ``online`` or ``offline``, also when edgeface dies. Discovery: ``sinks.home_assistant``.
"""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

from edgeface.common.install import missing
from edgeface.errors import SinkError
from edgeface.inference.result import FrameResult
from edgeface.sinks.base import Message, MessageSink
from edgeface.sinks.home_assistant import COUNTS, STATE, Entity, configurations, slug
from edgeface.sinks.reconnecting import ReconnectingSink
from edgeface.sinks.sink_uri import SinkUri

_PORT, _TLS_PORT = 1883, 8883
_KEEPALIVE_S = 15
_ACKNOWLEDGED_S = 10.0
"""A message that the broker has not acknowledged by then is tried again."""
_CHECK_S = 0.5
"""While a message waits for its acknowledgement, a lost connection and ``abort`` are noticed this soon."""
_QOS = 1
_LONGEST_TOPIC = 1024
PASSWORD = "EDGEFACE_MQTT_PASSWORD"
"""Environment variable, so that the password is on no command line."""


class MqttSink(ReconnectingSink, MessageSink):
    """Publishes results, one message on its way at a time, at least once each (QoS 1).

    Options: ``every`` seconds between two messages on ``state`` (1), ``faces`` 0 leaves out the topic with all results,
    ``discovery`` is Home Assistant's prefix ("homeassistant"; empty: none), ``ca`` a file of certificates for mqtts://.
    ``counters`` count messages.
    User and password: ``mqtt://user@host``, and the password in ``$EDGEFACE_MQTT_PASSWORD``.
    """

    def __init__(self, uri: str) -> None:
        given = SinkUri(uri, {"every": 1.0, "faces": 1, "discovery": "homeassistant", "ca": ""})
        super().__init__(given.name)
        url = given.url()
        self._topic = unquote(url.path).strip("/")
        if not url.hostname or not _is_topic(self._topic):
            raise SinkError(f"`{self.name}` is no topic to publish to, expected mqtt://HOST/TOPIC")
        self._every_s = given.number("every", 0, 86_400)
        self._with_faces = bool(given.number("faces", 0, 1))
        self._discovery = given.text("discovery").strip("/")
        if self._discovery and not _is_topic(self._discovery):
            wanted = "a topic without + # $ and control characters, or nothing"
            raise SinkError(f"`{self.name}`: option `discovery` expects {wanted}")
        self._next_s: dict[str, float] = {}
        self._people: dict[str, int] = {}
        self._announced: set[tuple[str, str]] = set()
        self._changed = threading.Condition()
        self._connected, self._refusal = False, "no connection"
        self._client = _client(self._topic, given, unquote(url.username or ""), unquote(url.password or ""))
        self._client.on_connect, self._client.on_disconnect = self._on_connect, self._on_disconnect
        port = url.port or (_TLS_PORT if url.scheme == "mqtts" else _PORT)
        self._client.connect_async(url.hostname, port, _KEEPALIVE_S)
        self._client.loop_start()

    def append(self, result: FrameResult) -> None:
        """Publish one result, and a summary when one is due."""
        source = result.frame.source
        seen = (face.track for face in result.faces if face.track is not None)
        self._people[source] = max([self._people.get(source, 0), *seen])
        if self._with_faces:
            self._publish(source, "faces", result.to_dict(), retain=False)
        now = time.monotonic()
        if now >= self._next_s.get(source, now):
            self._next_s[source] = now + self._every_s
            self._announce(source, "state", STATE)
            self._publish(source, "state", summary(result, self._people[source]), retain=False)

    def send(self, message: Message) -> None:
        """Publish the counts of one interval."""
        source = str(message["source"])
        self._announce(source, "counts", COUNTS)
        self._publish(source, "counts", message, retain=False)

    def _announce(self, source: str, topic: str, entities: tuple[Entity, ...]) -> None:
        """Tell Home Assistant, once a source; the broker keeps it."""
        if not self._discovery or (source, topic) in self._announced:
            return
        self._announced.add((source, topic))
        for where, payload in configurations(self._discovery, self._topic, source, topic, entities):
            self._deliver(where, json.dumps(payload), retain=True)

    def _publish(self, source: str, topic: str, message: Message, retain: bool) -> None:
        self._deliver(f"{self._topic}/{slug(source)}/{topic}", json.dumps(message, ensure_ascii=False), retain)

    def _deliver(self, topic: str, payload: str, retain: bool) -> None:
        """Publish and wait until the broker has it, over as many connections as that takes."""
        handles: list[Any] = []  # what the client has accepted, it sends again by itself after it has reconnected

        def attempt() -> bool:
            with self._changed:
                self._changed.wait_for(lambda: self._connected or self.stopped.is_set(), _ACKNOWLEDGED_S)
            if not self._connected:
                raise OSError(self._refusal)
            if not handles:
                handles.append(self._client.publish(topic, payload, qos=_QOS, retain=retain))
            try:
                acknowledged = self._acknowledged(handles[0], _ACKNOWLEDGED_S)
            except (RuntimeError, ValueError) as error:  # the client has not accepted it, so it has to be given again
                handles.clear()
                raise OSError(f"cannot publish: {error}") from error
            if not acknowledged:
                raise OSError("the broker has not acknowledged a message")
            return True

        self.retry(attempt)

    def _acknowledged(self, handle: Any, timeout_s: float) -> bool:
        """Whether the broker acknowledges a message within ``timeout_s``, with this connection and before ``abort``."""
        ends = time.monotonic() + timeout_s
        while not handle.is_published() and self._connected and not self.stopped.is_set() and time.monotonic() < ends:
            handle.wait_for_publish(min(_CHECK_S, timeout_s))
        return bool(handle.is_published())

    def abort(self) -> None:
        super().abort()
        with self._changed:
            self._changed.notify_all()

    def _on_connect(self, client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        with self._changed:
            self._connected, self._refusal = not reason.is_failure, f"the broker refuses: {reason}".lower()
            self._changed.notify_all()
        if not reason.is_failure:
            client.publish(f"{self._topic}/availability", "online", qos=_QOS, retain=True)

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, _reason: Any, _properties: Any) -> None:
        with self._changed:
            self._connected, self._refusal = False, "no connection"
            self._changed.notify_all()

    def close(self) -> None:
        """Say that nothing more comes, and leave."""
        if self._connected:
            handle = self._client.publish(f"{self._topic}/availability", "offline", qos=_QOS, retain=True)
            with suppress(RuntimeError, ValueError):  # the connection was lost just now
                self._acknowledged(handle, 1.0)
        self._client.disconnect()
        self._client.loop_stop()
        self._connected = False


def _is_topic(text: str) -> bool:
    """Whether messages may be published under a topic (MQTT 5, sections 1.5.4 and 4.7): no wildcard, no ``$``, and room
    for the levels that are added."""
    return bool(text) and text.isprintable() and not set(text) & set("+#$") and len(text.encode()) <= _LONGEST_TOPIC


def _client(topic: str, given: SinkUri, user: str, password: str) -> Any:
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError as error:
        raise missing("paho-mqtt", "live", "an mqtt:// sink") from error
    client = Client(CallbackAPIVersion.VERSION2)
    client.will_set(f"{topic}/availability", "offline", qos=_QOS, retain=True)
    client.reconnect_delay_set(1, 15)
    client.max_queued_messages_set(16)
    if user:
        client.username_pw_set(user, password or os.environ.get(PASSWORD))
    if given.address.lower().startswith("mqtts:"):
        try:
            client.tls_set(ca_certs=given.text("ca") or None)
        except OSError as error:
            raise SinkError(f"cannot read certificates `{given.text('ca')}`: {error.strerror or error}") from error
    return client


def summary(result: FrameResult, people: int) -> Message:
    """What a dashboard shows of one frame: counts and the mean age of those in view, nothing of a single track.

    ``people`` were told apart so far. Faces whose age or gender is too unsure count only in ``faces``.
    """
    ages = [face.age for face in result.faces if face.age is not None and "age" not in face.abstained]
    genders = [face.gender for face in result.faces if "gender" not in face.abstained]
    return {
        "schema": 1,
        "source": result.frame.source,
        "faces": len(result.faces),
        "people": people,
        "age_mean": round(sum(ages) / len(ages), 1) if ages else None,
        "female": genders.count("female"),
        "male": genders.count("male"),
    }
