"""Machines in namespaces, where the tests run as root: what each has of its own, their network."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from .needs import what_is_missing
from .separate import separately
from .space import home_of

pytestmark = pytest.mark.soak

CLONE: Final = Path(__file__).resolve().parents[2]
ENDS_S: Final = 20.0


class Seen(NamedTuple):
    said: dict[str, Any]
    running: "subprocess.Popen[str]"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    reason = what_is_missing(CLONE, wheels=())
    if reason:
        pytest.skip(reason)
    words = [sys.executable, "-m", "tests.rehearsal.two_machines"]
    folder = tmp_path_factory.mktemp("machines")
    with subprocess.Popen(
        separately([*words, str(folder)]),
        cwd=CLONE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            assert running.stdout
            assert running.stderr
            line = running.stdout.readline()
            assert line, running.stderr.read()
            yield Seen(json.loads(line), running)
        finally:
            running.kill()


def test_each_machine_has_its_own_name_boot_home_and_folders(seen: Seen) -> None:
    one, two = seen.said["one"], seen.said["two"]
    here = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    assert [one[0], two[0]] == ["one", "two"]
    assert len({one[1], two[1], here}) == 3
    assert one[2] == two[2] == str(home_of())
    assert one[-1] == "ubuntu"


def test_a_cut_is_silent_until_it_is_mended_and_a_delay_until_it_ends(seen: Seen) -> None:
    said = seen.said
    assert said["cut_s"] is None
    assert said["mended_s"] is not None
    assert said["delayed_s"] >= 0.2  # There and back.
    assert said["at_once_s"] < said["delayed_s"]


def test_a_machine_has_its_own_processes_which_end_with_it_and_comes_back(seen: Seen) -> None:
    first, *others = seen.said["processes"]
    assert first == sys.executable
    assert {Path(other.rstrip(":")).name for other in others} == {"sshd"}  # It renames itself.
    assert seen.said["killed_s"] is None
    assert seen.said["back_s"] is not None


def test_kill_9_of_the_outermost_process_ends_everything(seen: Seen) -> None:
    """The last test here: it ends what the others look at."""
    seen.running.kill()
    assert seen.running.wait(ENDS_S) == -9
    # Its standard output is closed only when the last process that has it has ended.
    assert seen.running.stdout
    assert seen.running.stdout.read() == ""
