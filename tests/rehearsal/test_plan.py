"""The faults as data, the page's commands, the needs of a machine, its traces, and the table."""

from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from .__main__ import main
from .faults import FAULTS, PARTS, Act, Target, chosen
from .needs import PROGRAMS, what_is_missing
from .page import command, commands
from .space import kept_paths
from .table import Row, table
from .traces import Traces, left_of, traces_of

CLONE: Final = Path(__file__).resolve().parents[2]
PAGE: Final = (CLONE / "docs" / "cluster.md").read_text(encoding="utf-8")


def test_every_cut_but_the_last_is_mended_and_every_delay_ends() -> None:
    for fault in FAULTS:
        acts = [step.act for step in fault.steps]
        assert [step.after_s for step in fault.steps] == sorted(s.after_s for s in fault.steps)
        assert fault.steps[0].after_s == 0
        assert acts.count(Act.SLOW) == acts.count(Act.FAST)
        assert fault.loses_its_node == (acts in ([Act.CUT], [Act.KILL])), fault.name
        assert fault.ends_the_system == (fault.target is Target.HEAD), fault.name


def test_every_act_is_rehearsed() -> None:
    assert {step.act for fault in FAULTS for step in fault.steps} == set(Act)


def test_all_parts_or_those_that_are_named_in_their_order() -> None:
    assert chosen([]) == list(PARTS)
    assert chosen(["root", "cut-3s"]) == ["cut-3s", "root"]
    with pytest.raises(ValueError, match="'cut-4s' is none of quickstart"):
        chosen(["cut-4s"])


def test_another_part_is_refused_before_anything_starts() -> None:
    done = CliRunner().invoke(main, ["--only", "cut-4s"])
    assert done.exit_code == 2
    assert "'cut-4s' is none of" in done.output


@pytest.mark.parametrize(
    ("heading", "beginning"),
    [
        ("3.", "ray up"),
        ("3.", "ray exec"),
        ("4.", "ray rsync-up"),
        ("4.", "ray exec cluster.yaml 'callboard run"),
        ("5.", "ray down"),
    ],
)
def test_the_page_has_each_command_that_the_rehearsal_runs(heading: str, beginning: str) -> None:
    assert command(PAGE, heading, beginning).startswith(beginning)


def test_commands_of_a_section_come_in_order_without_comments() -> None:
    page = "# 1. A\n```bash\na 1  # why\nb\n```\n```python\nc = 1\n```\n## 2. B\n```bash\nd\n```\n"
    assert commands(page, "1.") == ["a 1", "b"]
    assert commands(page, "2.") == ["d"]
    with pytest.raises(ValueError, match="no section '3\\.'"):
        commands(page, "3.")
    with pytest.raises(ValueError, match=r"has 0 commands"):
        command(page, "2.", "a")


def missing(
    clone: Path,
    *,
    platform: str = "linux",
    user_id: int = 0,
    without: str = "nothing",
    is_confined: bool = False,
) -> str:
    return what_is_missing(
        clone,
        platform=platform,
        user_id=user_id,
        which=lambda program: None if without in program else program,
        makes_namespaces=lambda: not is_confined,
    )


def test_a_machine_that_cannot_rehearse_says_why(tmp_path: Path) -> None:
    assert "namespaces" in missing(tmp_path, platform="darwin")
    assert "root" in missing(tmp_path, user_id=1000)
    assert missing(tmp_path, without="sshd") == (
        "/usr/sbin/sshd not found (apt-get install openssh-server)"
    )
    assert "CAP_SYS_ADMIN" in missing(tmp_path, is_confined=True)
    assert missing(tmp_path) == "no wheels in dist (make wheelhouse)"
    for folder in ("dist", "wheelhouse"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.whl").touch()
    assert not missing(tmp_path)
    assert all(PROGRAMS.values())


def test_what_a_machines_own_folders_would_hide_is_kept_once() -> None:
    own, clone = Path("/tmp"), Path("/tmp") / "clone"
    python = Path("/home") / "somebody" / "python"
    assert kept_paths([clone, clone / "out", Path("/srv"), python, clone]) == [clone, python]
    assert kept_paths([Path("/tmpfs"), own.parent]) == []


def test_traces_tell_callboards_processes_from_rays(tmp_path: Path) -> None:
    (tmp_path / "callboard-0").mkdir()
    (tmp_path / "callboard-0" / "1-2.sock").touch()
    processes = {
        1: "sshd: listener",
        2: "ray::HostActor",
        3: "ray::IDLE",
        4: "ray::DashboardAgent",
        5: "/venv/site-packages/ray/core/src/ray/raylet/raylet --session",
        6: "ray::bank-1:RootActor.call",
    }
    traces = traces_of(processes, tmp_path)
    assert traces.hosts == ("HostActor", "RootActor")
    assert len(traces.ray) == 3
    assert left_of({"one": traces, "two": Traces(ray=traces.ray)}) == [
        "HostActor, RootActor on one",
        "callboard-0/1-2.sock on one",
    ]


def test_the_table_has_a_line_for_each_row_and_columns_of_one_width() -> None:
    rows = [
        Row("a cut", 2.04, 3.0, 0.0, left=["a host on worker-1"]),
        Row("ray up", took_s=41.2),
        Row("root", problems=["the execution has not ended", "a had 3, then 1"]),
    ]
    lines = table(rows).splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert cells == [
        ["a cut", "2.0 s", "3.0 s", "0.0 s", "right", "a host on worker-1"],
        ["ray up", "", "", "", "right in 41 s", "nothing"],
        ["root", "", "", "", "the execution has not ended; a had 3, then 1", "nothing"],
    ]
    assert [row.is_right for row in rows] == [True, True, False]
