"""The README's quickstart is the script that runs, its types are inferred, its links lead there."""

import re
import shutil
import subprocess
import sys
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


def run_mypy(root: Path, script: Path) -> str:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-color-output"]
    config = script.with_name("mypy.ini")
    config.write_text("[mypy]\n")  # As a user begins: without ours, and without any plugin.
    cache = script.with_name("cache")
    done = subprocess.run(
        [*command, "--config-file", str(config), "--cache-dir", str(cache), str(script)],
        check=False, capture_output=True, text=True, cwd=script.parent,
    )  # fmt: skip
    assert done.returncode in {0, 1}, done.stderr
    return done.stdout


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


def test_mypy_strict_infers_the_replies_without_a_cast(
    quickstart: str, root: Path, tmp_path: Path
) -> None:
    assert "cast" not in quickstart
    script = tmp_path / "quickstart.py"
    script.write_text(quickstart + TYPED, encoding="utf-8")
    found = run_mypy(root, script)
    assert "error" not in found, found
    types = re.findall(r'Revealed type is "(.*)"', found)
    short = [re.sub(r"[\w.]+\.(\w+)", r"\1", name) for name in types]
    assert short == INFERRED


@pytest.mark.parametrize("mistake", WRONG.values(), ids=WRONG.keys())
def test_mypy_finds_mistakes(
    mistake: str, quickstart: str, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # One folder for all, so that only the first pays for an empty cache.
    folder = tmp_path_factory.getbasetemp() / "mistakes"
    folder.mkdir(exist_ok=True)
    script = folder / "quickstart.py"
    script.write_text(f"{quickstart}\n\n{mistake}\n", encoding="utf-8")
    assert "error: " in run_mypy(root, script)


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
