"""Settings of traces: what is refused, and what the environment of the driver says."""

from typing import Any

import pytest

from callboard.messages.core.errors import SpecError
from callboard.runtime.hosting.settings import Settings, settings_of
from callboard.telemetry import TracingSettings


@pytest.mark.parametrize(
    "wrong",
    [
        {"ratio": -0.1},
        {"ratio": 1.1},
        {"ratio": float("nan")},
        {"ratio": "all"},
        {"ratio": True},
        {"queue_spans": 0},
        {"queue_spans": 10, "batch_spans": 11},
        {"queue_spans": 1 << 40},
        {"batch_spans": 1.5},
        {"delay_s": 0.0},
        {"delay_s": float("inf")},
        {"endpoint": "collector:4318"},
        {"endpoint": "ftp://collector/"},
        {"endpoint": "http://[collector"},
        {"endpoint": 4318},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=next(iter(wrong)).replace("batch", "queue")) as refused:
        TracingSettings(**wrong)
    assert refused.value.advice


def test_a_password_in_an_endpoint_is_refused_and_not_shown() -> None:
    with pytest.raises(SpecError) as refused:
        TracingSettings(endpoint="http://me:hunter-2@collector/")
    assert "hunter-2" not in str(refused.value)


def test_other_values_of_the_setting_are_refused() -> None:
    wrong: list[Any] = [1, "yes", 0.5, {}]
    for value in wrong:
        with pytest.raises(SpecError, match="tracing"):
            Settings(tracing=value)
    with pytest.raises(SpecError, match="tracing"):
        settings_of({}, {"CALLBOARD_TRACING": "0.5"})
    assert Settings().traces is None
    assert Settings(tracing=False).traces is None


def test_the_endpoint_of_the_driver_counts_for_all_hosts() -> None:
    both = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://one:4318/base/",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://two:4318/spans",
    }
    chosen = settings_of({"tracing": True}, both).traces
    assert chosen is not None
    assert chosen.endpoint == "http://two:4318/spans"
    del both["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
    chosen = settings_of({"tracing": True}, both).traces
    assert chosen is not None
    assert chosen.endpoint == "http://one:4318/base/v1/traces"
    said = TracingSettings(endpoint="http://three/")
    assert settings_of({"tracing": said}, both).traces == said
    assert settings_of({"tracing": True}, {}).traces == TracingSettings()
    assert settings_of({}, both).traces is None
