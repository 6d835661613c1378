"""Every Python example in `docs/` runs: each page from top to bottom, in its own process."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
FENCE: Final = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES: Final = sorted(
    page for page in (ROOT / "docs").rglob("*.md") if FENCE.search(page.read_text())
)


def script_of(page: str) -> str:
    """The examples of a page as one script, on the page's lines, so that tracebacks match."""
    script: list[str] = []
    for block in FENCE.finditer(page):
        line = page.count("\n", 0, block.start(1))
        script += [""] * (line - len(script))
        script += block.group(1).splitlines()
    return "\n".join(script) + "\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT / "docs")))
def test_the_page_runs_from_top_to_bottom(page: Path, tmp_path: Path) -> None:
    script = tmp_path / f"{page.stem.replace('-', '_')}.py"
    script.write_text(script_of(page.read_text(encoding="utf-8")), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=100,
    )
    assert done.returncode == 0, f"{page.name}, by its own line numbers:\n{done.stderr}"


def test_there_are_pages_with_examples() -> None:
    assert {"drivers.md", "plans.md"} <= {page.name for page in PAGES}


def test_examples_keep_their_line_numbers() -> None:
    page = "# A page\n\n```python\na = 1\n```\n\ntext\n\n```python\nassert a == 1\n```\n"
    assert script_of(page).splitlines().index("assert a == 1") == page.splitlines().index(
        "assert a == 1"
    )
