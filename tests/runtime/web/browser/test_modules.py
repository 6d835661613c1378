"""The pure modules of the page, under Node."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .world import STATIC

BYTES_MAX = 202_000
"""All files of the page together; `offline.js` is only in exported files."""


def test_the_modules_hold_what_they_promise(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node: apt-get install nodejs")
    shutil.copytree(STATIC, tmp_path / "static")
    shutil.copytree(Path(__file__).parent / "modules", tmp_path / "modules")
    # Files named .js are modules of their own only where this says so.
    (tmp_path / "package.json").write_text(json.dumps({"type": "module"}))
    files = sorted(map(str, (tmp_path / "modules").glob("*.test.js")))
    ended = subprocess.run(
        [node, "--test", *files],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stdout[-5000:]


def test_the_page_is_small_and_needs_no_other_place() -> None:
    files = [path for path in STATIC.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < BYTES_MAX
    for path in files:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, path.name
        assert "https://" not in text, path.name
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert way not in text, (path.name, way)


def test_the_documentation_names_every_view_and_key(root: Path) -> None:
    text = (root / "docs" / "page.md").read_text(encoding="utf-8")
    source = (STATIC / "app.js").read_text(encoding="utf-8")
    views = re.findall(r'\["\w+", "(\w+)", \w+View\]', source)
    assert len(views) == 7
    for view in views:
        assert f"| {view} |" in text, view
    keys = re.findall(r'\["([^"]+)", "[^"]+"\]', source[source.index("function showKeys") :])
    assert keys
    for key in keys:
        assert f"`{key}`" in text, key
