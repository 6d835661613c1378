"""Intake: metrics of others, scraped in Prometheus' formats or received by OpenTelemetry's."""

__all__: list[str] = []
