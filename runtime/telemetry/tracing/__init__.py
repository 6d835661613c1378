"""Traces: the spans of a host, recorded in memory and sent by OpenTelemetry's protocol."""

__all__: list[str] = []
