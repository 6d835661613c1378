"""The README's quickstart is the script that runs, its types are inferred, its links lead there."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

LINES_MAX: Final = 39  # "under 40 lines"
TYPED: Final = """

async def what_is_inferred(ctx: Context, system: System) -> None:
    reveal_type(await ctx.ask(Review(path="a.py")))
    reveal_type(await system.ask(Review(path="a.py")))
    reviewer = await system.spawn(Reviewer)
    reveal_type(reviewer)
    reveal_type(await reviewer.ask(Review(path="a.py")))
    reveal_type(run(what_is_returned))


async def what_is_returned(system: System) -> int:
    return 1
"""
INFERRED: Final = ["Findings", "Findings", "Ref[Reviewer]", "Findings", "int"]
WRONG: Final = {
    "an unknown field": 'Review(file="a.py")',
    "a field of the wrong type": "Review(path=1)",
    "a reply that the handler may not give": "Findings(wide_lines='many')",
    "a name that there is not": "import callboard; callboard.Agnet",
}


@pytest.fixture(scope="module")
def readme(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def quickstart(readme: str) -> str:
    blocks: list[str] = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert blocks, "the README shows no Python"
    return blocks[0]


@pytest.fixture(scope="module")
def expected() -> int:
    """What the quickstart counts, counted without it."""
    import asyncio

    files = Path(asyncio.__path__[0]).rglob("*.py")
    texts = (file.read_text(encoding="utf-8") for file in files)
    return sum(len(line) > 72 for text in texts for line in text.splitlines())


def test_the_readme_shows_exactly_the_example(quickstart: str, root: Path) -> None:
    assert quickstart == (root / "examples" / "quickstart.py").read_text(encoding="utf-8")


def test_it_is_under_40_lines(quickstart: str) -> None:
    assert len(quickstart.splitlines()) <= LINES_MAX


@pytest.mark.parametrize("engine", ["inline", pytest.param("ray", marks=pytest.mark.ray)])
def test_it_runs_as_it_stands(engine: str, quickstart: str, expected: int, tmp_path: Path) -> None:
    script = tmp_path / "quickstart.py"
    script.write_text(quickstart, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script), f"engine={engine}", "hosts=2"],
        check=False, capture_output=True, text=True, cwd=tmp_path, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"wide_lines={expected}\n"


@pytest.mark.timeout(300)  # Other processes may check theirs first.
def test_mypy_strict_infers_the_replies_without_a_cast(
    quickstart: str, strict_mypy: Callable[..., str], tmp_path: Path
) -> None:
    assert "cast" not in quickstart
    script = tmp_path / "quickstart.py"
    script.write_text(quickstart + TYPED, encoding="utf-8")
    found = strict_mypy(script)
    assert "error" not in found, found
    types = re.findall(r'Revealed type is "(.*)"', found)
    short = [re.sub(r"[\w.]+\.(\w+)", r"\1", name) for name in types]
    assert short == INFERRED


@pytest.mark.timeout(300)
def test_mypy_finds_mistakes(
    quickstart: str, strict_mypy: Callable[..., str], tmp_path: Path
) -> None:
    scripts = [tmp_path / f"{name.replace(' ', '_')}.py" for name in WRONG]
    for script, mistake in zip(scripts, WRONG.values(), strict=True):
        script.write_text(f"{quickstart}\n\n{mistake}\n", encoding="utf-8")
    found = strict_mypy(*scripts)
    assert set(re.findall(r"^(\w+\.py):\d+: error: ", found, re.MULTILINE)) == {
        script.name for script in scripts
    }


def test_links_lead_to_files(readme: str, root: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", readme)
    assert links
    missing = [link for link in links if not (root / link).exists()]
    assert not missing


def test_commands_that_it_names_exist(readme: str, root: Path) -> None:
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"^make ([a-z]+)", readme, re.MULTILINE))
    assert named
    assert named <= targets
    assert shutil.which("callboard", path=str(Path(sys.executable).parent)), "not installed"
