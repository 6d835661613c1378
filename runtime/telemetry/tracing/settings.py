"""Settings of the traces of a system."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

from callboard.messages.core.errors import CallboardError, SpecError

__all__ = ["TracingSettings"]

ENDPOINTS: Final = (
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "v1/traces"),
)
"""The standard's variables, the one that counts first, and what it appends to the second."""
QUEUE_SPANS_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """Where the spans of a system go, and which. A wrong value raises `SpecError`.

    What is not here comes from the standard variables in the environment of each process:
    `OTEL_EXPORTER_OTLP_HEADERS`, `_CERTIFICATE`, `_TIMEOUT` and so on, `OTEL_SERVICE_NAME` and
    `OTEL_RESOURCE_ATTRIBUTES`. So no secret travels with the settings.
    """

    endpoint: str = ""
    """The URL that takes spans by OTLP over HTTP, with its path (`http://collector:4318/v1/traces`).
    By default the `OTEL_EXPORTER_OTLP_ENDPOINT` of the driver counts, for all hosts."""
    ratio: float = 1.0
    """The share of the traces that begin in this system which are recorded. A trace that comes
    from outside is recorded when its sender records it."""
    queue_spans: int = 16_384
    """Spans that wait in one process for their sending; one more is dropped, and counted."""
    batch_spans: int = 512
    """Spans in one request, at most."""
    delay_s: float = 1.0
    """How long a span waits for others."""

    def __post_init__(self) -> None:
        self._check("ratio", is_right=_is_number(self.ratio, 0.0, 1.0), wanted="from 0 to 1")
        sizes = (self.batch_spans, self.queue_spans)
        self._check(
            "queue_spans",
            is_right=all(type(size) is int for size in sizes)
            and 1 <= self.batch_spans <= self.queue_spans <= QUEUE_SPANS_MAX,
            wanted=f"at least batch_spans, which is at least 1, and at most {QUEUE_SPANS_MAX:,}",
        )
        self._check("delay_s", is_right=_is_number(self.delay_s, 0.01, 60.0), wanted="0.01 to 60")
        self._check("endpoint", is_right=_is_url(self.endpoint), wanted="a URL without a password")

    def _check(self, name: str, *, is_right: bool, wanted: str) -> None:
        if not is_right:
            # A URL may have a password in it: it must not get into a log.
            value = "not usable" if name == "endpoint" else repr(getattr(self, name))
            raise SpecError(
                f"{name} of the setting tracing is {value}.",
                advice=f"It must be {wanted}.",
                field="tracing",
            )

    def resolved(self, environment: Mapping[str, str]) -> "TracingSettings":
        """The same with the endpoint that the environment names, unless there is one already."""
        if self.endpoint:
            return self
        for variable, path in ENDPOINTS:
            url = environment.get(variable, "").strip()
            if url:
                return replace(self, endpoint=f"{url.rstrip('/')}/{path}" if path else url)
        return self

    @classmethod
    def of(cls, value: Any) -> "TracingSettings | None":
        """The settings that a value of the setting `tracing` means. Raises `SpecError`."""
        if value is None or value is False:
            return None
        if value is True:
            return cls()
        if isinstance(value, cls):
            return value
        raise _not_settings(value)


def _not_settings(value: object) -> CallboardError:
    return SpecError(
        f"setting tracing is a {type(value).__name__}.",
        advice="It must be True, False, or TracingSettings.",
        field="tracing",
    )


def _is_number(value: object, least: float, most: float) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and least <= value <= most  # type: ignore[arg-type, operator]


def _is_url(text: object) -> bool:
    if not isinstance(text, str):
        return False
    if not text:
        return True
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
