"""MQTT through a real Mosquitto: what arrives, Home Assistant's discovery, a broker that goes and comes back."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeface.sinks import reconnecting as sink_live
from edgeface.sinks.home_assistant import COUNTS, STATE, configurations, slug
from edgeface.sinks.open import open_sink
from edgeface.sinks.queue import BoundedSink
from tests.pipeline.clips import result
from tests.pipeline.peers import Listener, free_port, mosquitto, needs_mosquitto, until

pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed (extra `live`)")
PIXELS = np.zeros((32, 32, 3), np.uint8)

# What Home Assistant documents for MQTT sensors (integrations/sensor.mqtt): all keys that a payload may have.
SENSOR_KEYS = {
    *("availability", "availability_mode", "availability_template", "availability_topic", "default_entity_id"),
    *("device", "device_class", "enabled_by_default", "encoding", "entity_category", "entity_picture", "expire_after"),
    *(
        "force_update",
        "group",
        "icon",
        "json_attributes_template",
        "json_attributes_topic",
        "last_reset_value_template",
    ),
    *("name", "object_id", "options", "origin", "payload_available", "payload_not_available", "platform", "qos"),
    *(
        "state_class",
        "state_topic",
        "suggested_display_precision",
        "unique_id",
        "unit_of_measurement",
        "value_template",
    ),
}
DEVICE_KEYS = {
    *("configuration_url", "connections", "hw_version", "identifiers", "manufacturer", "model", "model_id", "name"),
    *("serial_number", "suggested_area", "sw_version", "via_device"),
}
ORIGIN_KEYS = {"name", "sw_version", "support_url"}
STATE_CLASSES = {"measurement", "measurement_angle", "total", "total_increasing"}


def assert_valid_discovery(prefix: str, topic: str, payload: dict[str, Any]) -> None:
    """As Home Assistant checks it: the topic's form, required keys, no unknown ones, values of the right kind."""
    assert re.fullmatch(rf"{re.escape(prefix)}/sensor/[a-zA-Z0-9_-]+/config", topic), topic
    assert set(payload) <= SENSOR_KEYS and {"state_topic", "unique_id", "device", "origin"} <= set(payload)
    assert set(payload["device"]) <= DEVICE_KEYS and payload["device"]["identifiers"]
    assert set(payload["origin"]) <= ORIGIN_KEYS and payload["origin"]["name"]
    assert payload.get("state_class", "measurement") in STATE_CLASSES
    assert re.fullmatch(r"mdi:[a-z-]+", payload["icon"])
    assert re.fullmatch(r"\{\{ value_json\.\w+ \}\}", payload["value_template"])
    for key in ("state_topic", "availability_topic"):
        assert payload[key] and not set(payload[key]) & set("+#\0")


@pytest.mark.parametrize("source", ["0", "rtsp://kamera.örtlich:554/a b?c#d", "clip.mp4", "/dev/video0", "+/#"])
@pytest.mark.parametrize("entities", [STATE, COUNTS])
def test_discovery_is_valid_for_any_source(source: str, entities: Any) -> None:
    for topic, payload in configurations("homeassistant", "home/door", source, "state", entities):
        assert_valid_discovery("homeassistant", topic, json.loads(json.dumps(payload)))


def test_different_sources_have_different_levels() -> None:
    names = ["cam 1", "cam-1", "cam/1", "cam_1", "x" * 80, "x" * 81, "", "0"]
    assert len({slug(name) for name in names}) == len(names)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]+", slug(name)) for name in names)


@needs_mosquitto
def test_results_summaries_discovery_and_availability_arrive(tmp_path: Path) -> None:
    port = free_port()
    with mosquitto(tmp_path, port), Listener(port) as heard:
        with BoundedSink(open_sink(f"mqtt://127.0.0.1:{port}/home/door#every=0"), 64, "drop_oldest") as sink:
            for index in range(5):
                sink.append(result(PIXELS, index, index / 25, faces=2, source="cam1"))
            until(lambda: len(heard.messages.get("home/door/cam1/state", ())) == 5)
            until(lambda: heard.messages.get("home/door/availability") == [b"online"])
        until(lambda: heard.messages["home/door/availability"] == [b"online", b"offline"])
        assert [frame["frame"] for frame in heard.json("home/door/cam1/faces")] == list(range(5))
        state = heard.json("home/door/cam1/state")[-1]
        expected = {"schema": 1, "source": "cam1", "faces": 2, "people": 2, "age_mean": 34.4, "female": 2, "male": 0}
        assert state == expected
        with Listener(port) as late:
            until(lambda: len(late.retained) == 1 + len(STATE))
            kept = {topic: json.loads(data) for topic, data in late.retained.items() if topic.endswith("/config")}
    assert len(kept) == len(STATE)
    for topic, payload in kept.items():
        assert_valid_discovery("homeassistant", topic, payload)
        assert payload["state_topic"] in heard.messages, "the sensor's topic is one that is published"
        field = payload["value_template"].removeprefix("{{ value_json.").removesuffix(" }}")
        assert field in state, "the sensor's field is in the message"


@needs_mosquitto
def test_a_process_that_dies_is_offline(tmp_path: Path) -> None:
    port = free_port()
    with mosquitto(tmp_path, port), Listener(port) as heard:
        sink = open_sink(f"mqtt://127.0.0.1:{port}/t#faces=0")
        sink.append(result(PIXELS, 0, 0.0))
        until(lambda: heard.messages.get("t/availability") == [b"online"])
        sink._client.socket().shutdown(2)  # as when the process is killed: no goodbye
        until(lambda: b"offline" in heard.messages["t/availability"])
        sink.abort()
        sink.close()


@needs_mosquitto
def test_a_broker_that_goes_and_comes_back_gets_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sink_live, "_FIRST_WAIT_S", 0.02)
    monkeypatch.setattr("edgeface.sinks.mqtt._ACKNOWLEDGED_S", 0.5)
    port = free_port()
    inner = open_sink(f"mqtt://127.0.0.1:{port}/t#every=3600&discovery=")
    sink = BoundedSink(inner, depth=4, policy="drop_oldest")
    for index in range(50):  # no broker yet
        sink.append(result(PIXELS, index))
    until(lambda: sink.counters.errors)
    with mosquitto(tmp_path, port), Listener(port) as heard:
        until(lambda: heard.messages.get("t/clip-mp4-" + slug("clip.mp4")[-6:] + "/faces"))
        topic = f"t/{slug('clip.mp4')}/faces"
        until(lambda: heard.json(topic)[-1]["frame"] == 49)
        assert len(heard.json(topic)) <= 6
    sink.append(result(PIXELS, 50))
    errors = sink.counters.errors
    until(lambda: sink.counters.errors > errors)
    with mosquitto(tmp_path, port), Listener(port) as again:
        until(lambda: again.json(topic) and again.json(topic)[-1]["frame"] == 50)
        sink.close()
    assert sink.counters.reconnects == 2 and sink.counters.dropped >= 44
    assert "no connection; trying again" in caplog.text


@needs_mosquitto
def test_what_the_client_does_not_accept_is_given_to_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from paho.mqtt.client import MQTTMessageInfo
    from paho.mqtt.enums import MQTTErrorCode

    monkeypatch.setattr(sink_live, "_FIRST_WAIT_S", 0.02)
    port = free_port()
    with mosquitto(tmp_path, port), Listener(port) as heard:
        with open_sink(f"mqtt://127.0.0.1:{port}/t#every=3600&discovery=") as sink:
            until(lambda: heard.messages.get("t/availability") == [b"online"])
            full = MQTTMessageInfo(1)
            full.rc = MQTTErrorCode.MQTT_ERR_QUEUE_SIZE
            publish, refused = sink._client.publish, [full]
            sink._client.publish = lambda *args, **kwargs: refused.pop() if refused else publish(*args, **kwargs)
            sink.append(result(PIXELS, 7))
        assert sink.counters.errors == 1 and sink.counters.written == 2  # on `faces` and `state`
        until(lambda: [frame["frame"] for frame in heard.json(f"t/{slug('clip.mp4')}/faces")] == [7])


def test_closing_does_not_wait_for_an_absent_broker() -> None:
    sink = BoundedSink(open_sink(f"mqtt://127.0.0.1:{free_port()}/t"), policy="drop_oldest", grace_s=0.1)
    sink.append(result(PIXELS))
    sink.close()
    assert sink.counters.written == 0
