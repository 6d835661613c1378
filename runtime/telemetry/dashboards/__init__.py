"""What Prometheus and Grafana need to show a system: a scrape configuration and a dashboard."""

import importlib.resources
import pathlib

__all__ = ["dashboard", "scrape_configuration"]


def dashboard() -> str:
    """The dashboard, as Grafana imports and provisions it."""
    return _text_of("callboard.json")


def scrape_configuration(folder: pathlib.Path) -> str:
    """Scrape jobs for Ray, and for the endpoints whose files are in this folder of a user.

    Prometheus allows a pattern in the last part of a path only, so the folder has to be named.
    """
    return _text_of("prometheus.yml").replace("FOLDER", str(folder))


def _text_of(name: str) -> str:
    return (importlib.resources.files(__name__) / name).read_text(encoding="utf-8")
