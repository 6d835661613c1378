"""What a user installs is what the repository holds: the links survive packaging.

Some build tools drop linked folders without a word, so the wheel is built and compared. It is
built by way of the source distribution, as an installer without a wheel would do it.
"""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import pytest

import callboard
from callboard.runtime.engines.ray.release import installed

FOLDERS: Final = ("actors", "messages", "runtime", "supervisors")
RELEASE: Final = """
from callboard.runtime.engines.ray.release import installed
print(*installed())
"""
IMPORT_ALL: Final = """
import importlib, pkgutil, sys
import callboard
assert callboard.__file__.startswith(sys.argv[1]), callboard.__file__
for module in pkgutil.walk_packages(callboard.__path__, "callboard."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
SIMULATED: Final = """
import sys
import callboard
from callboard.testing import simulate
assert callboard.__file__.startswith(sys.argv[1]), callboard.__file__

async def ten_minutes(sim):
    await sim.advance(600.0)
    return sim.now_s > 600.0

assert simulate(ten_minutes)
"""
BUILT_IN: Final = "from callboard.runtime.cli.main import main; main(['sim', '--seeds', '1'])"
OF_THE_TESTS: Final = frozenset(
    {
        "fixture_actors",
        "message_log",
        "mutation",
        "mutations",
        "scenario_fixture",
        "scenarios",
        "supervision_checker",
    }
)
"""Modules of the built-in scenarios of `callboard sim`: they stay in the repository."""


@pytest.fixture(scope="module")
def wheel(
    root: Path, repository_files: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A wheel built from a copy, because building writes next to the sources."""
    copy = tmp_path_factory.mktemp("copy")
    for file in repository_files:
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / file, copy / file, follow_symlinks=False)
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)]
    built = subprocess.run(command, check=False, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (made,) = out.glob("*.whl")
    return made


def test_the_four_folders_are_relative_links(root: Path) -> None:
    for name in FOLDERS:
        link = root / "src" / "callboard" / name
        assert link.is_symlink(), f"{link} must be a link; on Windows set core.symlinks=true"
        assert link.readlink() == Path("../..") / name


def test_a_wheel_holds_exactly_the_tracked_files(wheel: Path, repository_files: list[Path]) -> None:
    expected = {
        str(Path("callboard") / file) for file in repository_files if file.parts[0] in FOLDERS
    } | {str(file.relative_to("src")) for file in repository_files if _is_of_the_package(file)}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    missing, surplus = sorted(expected - held), sorted(held - expected)
    assert not missing, f"not in the wheel (is an __init__.py missing?): {missing}"
    assert not surplus, f"in the wheel, but not in the repository: {surplus}"


def test_a_wheel_carries_its_licence_and_its_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (entry_points,) = [name for name in names if name.endswith("entry_points.txt")]
        text = archive.read(entry_points).decode()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "callboard = callboard.runtime.cli.main:main" in text


def test_the_package_says_the_version_it_is_released_as(wheel: Path) -> None:
    assert wheel.name == f"callboard-{callboard.__version__}-py3-none-any.whl"


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as an installer would unpack it."""
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def run(program: str, unpacked: Path) -> subprocess.CompletedProcess[str]:
    """Run a program with the unpacked wheel in front of all else, outside the repository."""
    return subprocess.run(
        [sys.executable, "-c", program, str(unpacked)],
        check=False,
        capture_output=True,
        text=True,
        cwd=unpacked.parent,
        env={"PYTHONPATH": str(unpacked), "PATH": "", "HOME": str(unpacked.parent)},
    )


def test_every_module_imports_from_an_unpacked_wheel(unpacked: Path) -> None:
    done = run(IMPORT_ALL, unpacked)
    assert done.returncode == 0, done.stderr


def test_a_wheel_and_its_clone_are_one_release(unpacked: Path) -> None:
    """A driver in a clone joins nodes that have the wheel."""
    done = run(RELEASE, unpacked)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(installed())


def test_a_wheel_holds_no_scenario_checker_or_mutation(wheel: Path, root: Path) -> None:
    kept = {file.stem for file in (root / "tests/simulation").rglob("*.py")}
    assert kept >= OF_THE_TESTS
    with zipfile.ZipFile(wheel) as archive:
        held = [Path(name) for name in archive.namelist()]
    assert not [str(path) for path in held if path.stem in OF_THE_TESTS or "tests" in path.parts]


def test_an_unpacked_wheel_simulates_what_its_user_wrote(unpacked: Path) -> None:
    done = run(SIMULATED, unpacked)
    assert done.returncode == 0, done.stderr


def test_the_built_in_scenarios_need_a_clone_and_the_command_says_so(unpacked: Path) -> None:
    done = run(BUILT_IN, unpacked)
    assert done.returncode == 2, done.stderr
    assert "built-in scenarios come with the source" in done.stderr
    assert "callboard.testing.simulate" in done.stderr
    assert done.stdout == ""


def _is_of_the_package(file: Path) -> bool:
    """Whether it lies in `src/callboard` itself; the four folders there are links."""
    return file.parent == Path("src/callboard") and file.name not in FOLDERS
