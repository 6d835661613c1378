"""Requests to Prometheus' read API, carried by the admin API as they are."""

from pydantic import Field

from callboard.messages.core.contract import Contract, Request

__all__ = ["PrometheusAnswered", "QueryPrometheus"]


class PrometheusAnswered(Contract, name="callboard.admin.prometheus"):
    """The answer of Prometheus' read API."""

    status: int
    """The HTTP status."""
    body: str
    """JSON."""


class QueryPrometheus(Request[PrometheusAnswered], name="callboard.admin.query_prometheus"):
    """Ask Prometheus' read API."""

    path: str = Field(max_length=300)
    """What follows `/api/v1/`."""
    parameters: dict[str, tuple[str, ...]] = Field(default_factory=dict, max_length=50)
    """The parameters of the URL or the form."""
