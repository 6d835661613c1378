"""The documentation builds as a site without a warning, and every public name has an entry."""

import importlib
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

import callboard

pytestmark = pytest.mark.timeout(300)  # A busy machine builds the site for minutes.
pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")


@pytest.fixture(scope="module")
def site(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site; a warning of the build fails it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=root, env=environment
    )
    assert done.returncode == 0, done.stderr
    return folder


def entries(site: Path) -> set[str]:
    """The names that the site's inventory has (the format is Sphinx's, version 2)."""
    *header, packed = (site / "objects.inv").read_bytes().split(b"\n", 4)
    assert header[0] == b"# Sphinx inventory version 2"
    return {line.split(" ")[0] for line in zlib.decompress(packed).decode().splitlines()}


def test_every_public_name_has_an_entry(site: Path) -> None:
    modules = [callboard, *(importlib.import_module(f"callboard.{t}") for t in callboard.TOPICS)]
    public = {f"{module.__name__}.{name}" for module in modules for name in module.__all__}
    assert len(public) > 150
    assert sorted(public - entries(site)) == []


def test_the_fields_of_records_have_entries(site: Path) -> None:
    """What a progress bar needs, and what people read of a system; test_fields.py has the texts."""
    records = {
        "updates": ("Progressed", "Finished", "TaskTroubled", "ExecutionState", "Progress"),
        "telemetry": ("CallboardView", "HostView", "ActorView"),
        "reducers": ("Claim",),
        "events": ("ProjectorStatistics",),
    }
    fields = set()
    for topic, names in records.items():
        module = importlib.import_module(f"callboard.{topic}")
        for name in names:
            own = vars(getattr(module, name))["__annotations__"]
            fields |= {f"callboard.{topic}.{name}.{field}" for field in own}
    assert len(fields) > 80
    assert sorted(fields - entries(site)) == []


def test_the_pages_outside_docs_are_on_the_site(site: Path) -> None:
    for page in ("index.html", "architecture.html", "contributing.html", "changelog.html"):
        assert (site / page).is_file(), page


def test_links_between_pages_lead_to_pages(site: Path) -> None:
    """The README's links into `docs/` work from the site's first page as well."""
    home = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="executions.html' in home
    assert 'href="docs/' not in home
