"""What Prometheus and Grafana need to show a system: a scrape configuration and a dashboard."""

import importlib.resources
from typing import Final

__all__ = ["DASHBOARD", "PROMETHEUS", "text_of"]

DASHBOARD: Final = "callboard.json"
"""The dashboard, as Grafana imports and provisions it."""
PROMETHEUS: Final = "prometheus.yml"
"""Scrape jobs for the endpoints of nodes and for Ray's."""


def text_of(name: str) -> str:
    """The text of one of these files."""
    return (importlib.resources.files(__name__) / name).read_text(encoding="utf-8")
