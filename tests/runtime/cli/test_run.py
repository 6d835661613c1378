"""`callboard run`: each kind of target, and an exit code for each kind of failure."""

import json
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callboard.runtime.cli.outcome import ExitCode

INLINE = ("--engine", "inline", "--hosts", "2")
RAY = ("--engine", "ray", "--hosts", "2")
SCRIPT = """
import sys
import messages  # the user's own, next to the script
from callboard import run

async def main(system):
    return (sys.argv, __name__, messages.MINE, system.settings.hosts, system.settings.engine)

print(run(main))
"""

Run = Callable[..., Any]


# --- targets --------------------------------------------------------------------------


def test_an_actor_is_asked_its_only_request(callboard: Run) -> None:
    ended = callboard("run", "jobs:Player", *INLINE, "--request", '{"n": 3}')
    assert ended.code == ExitCode.OK
    assert json.loads(ended.out)["n"] == 3


@pytest.mark.parametrize("name", ["Ping", "jobs.Ping"])
def test_one_of_several_requests_is_chosen_by_either_name(callboard: Run, name: str) -> None:
    asked = ("--contract", name, "--pool", "Player=2", "--request", '{"n": 4}')
    ended = callboard("run", "jobs:Referee", *INLINE, *asked)
    assert json.loads(ended.out)["n"] == 4, ended.err


def test_the_request_may_come_from_stdin(callboard: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO('{"n": 9}'))
    ended = callboard("run", "jobs:Player", *INLINE, "--request", "-")
    assert json.loads(ended.out)["n"] == 9


def test_a_function_gets_the_system_and_its_arguments(callboard: Run) -> None:
    assert json.loads(callboard("run", "jobs:hosts", *INLINE).out) == 2
    ended = callboard("run", "jobs:arguments", *INLINE, "--", "a", "--b")
    assert json.loads(ended.out) == ["a", "--b"]


def test_a_script_runs_as_main_with_its_arguments_and_neighbours(
    callboard: Run, folder: Path
) -> None:
    inner = folder / "inner"
    inner.mkdir()
    (inner / "driver.py").write_text(SCRIPT)
    (inner / "messages.py").write_text("MINE = 'mine'\n")
    ended = callboard("run", "inner/driver.py", *INLINE, "--", "x", "--y")
    assert ended.code == ExitCode.OK, ended.err
    assert ended.out.strip() == str(
        (["inner/driver.py", "x", "--y"], "__main__", "mine", 2, "inline")
    )


@pytest.mark.parametrize(
    ("text", "code"), [("0", 0), ("7", 7), ("None", 0), ("'went wrong'", ExitCode.FAILED)]
)
def test_a_script_s_exit_code_is_kept(callboard: Run, folder: Path, text: str, code: int) -> None:
    (folder / "exits.py").write_text(f"import sys\nsys.exit({text})\n")
    ended = callboard("run", "exits.py")
    assert ended.code == code
    assert ("went wrong" in ended.err) is (code == ExitCode.FAILED)


def test_the_code_overrides_the_option_and_a_warning_says_so(
    callboard: Run, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "fixed.py").write_text(SCRIPT.replace("run(main)", "run(main, hosts=1)"))
    (folder / "messages.py").write_text("MINE = ''\n")
    ended = callboard("run", "fixed.py", *INLINE)
    assert ", 1, 'inline')" in ended.out
    assert "CALLBOARD_HOSTS=2 is ignored" in caplog.text


# --- json -----------------------------------------------------------------------------


def test_json_is_the_last_line_and_holds_the_result(callboard: Run, folder: Path) -> None:
    ended = callboard("run", "jobs:arguments", *INLINE, "--json", "--", "a")
    outcome = json.loads(ended.out.splitlines()[-1])
    assert (outcome["ok"], outcome["exit_code"], outcome["result"]) == (True, 0, ["a"])


def test_json_holds_any_result(callboard: Run) -> None:
    ended = callboard("run", "jobs:odd_values", *INLINE, "--json")
    assert ended.code == ExitCode.OK, ended.err
    result = json.loads(ended.out)["result"]
    assert result[:3] == [{"grid": [0.0, 1.0, 2.0], "raw": "_w=="}, "NaN", {"a": [1]}]
    assert "object" in result[3]


def test_json_holds_a_failure_with_its_code_and_advice(callboard: Run) -> None:
    ended = callboard("run", "jobs:Player", *INLINE, "--json", "--request", '{"n": -1}')
    outcome = json.loads(ended.out.splitlines()[-1])
    assert (outcome["ok"], outcome["exit_code"]) == (False, ended.code)
    assert outcome["error"]["code"] == "handler_failed"
    assert outcome["error"]["advice"]


# --- failures -------------------------------------------------------------------------

WRONG_USAGE = {
    "no such script": ("gone.py",),
    "no such module": ("gone:main",),
    "no such name": ("jobs:gone",),
    "no target at all": ("jobs",),
    "a plain function": ("jobs:not_async",),
    "a contract": ("jobs:Ping",),
    "a folder": (".",),
    "an actor without a request": ("jobs:Player",),
    "an actor that answers nothing": ("jobs:Mute", "--request", "{}"),
    "several requests, none chosen": ("jobs:Referee", "--request", '{"n": 1}'),
    "a request it does not answer": ("jobs:Player", "--contract", "Wait", "--request", '{"s": 1}'),
    "a request that is no JSON": ("jobs:Player", "--request", "n=1"),
    "a request that is no object": ("jobs:Player", "--request", "[1]"),
    "a field of the wrong type": ("jobs:Player", "--request", '{"n": "one"}'),
    "an unknown field": ("jobs:Player", "--request", '{"n": 1, "m": 2}'),
    "a request for a function": ("jobs:hosts", "--request", "{}"),
    "a pool for a function": ("jobs:hosts", "--pool", "Player"),
    "a pool of a wrong size": ("jobs:Player", "--request", '{"n": 1}', "--pool", "Player=x"),
    "a pool of no actor": ("jobs:Player", "--request", '{"n": 1}', "--pool", "hosts"),
    "an address that is none": ("jobs:hosts", "--engine", "ray", "--address", "nonsense"),
    "a cluster for inline": ("jobs:hosts", "--engine", "inline", "--address", "127.0.0.1:1"),
    "no hosts": ("jobs:hosts", "--hosts", "0"),
    "no time": ("jobs:hosts", "--timeout", "0"),
}


@pytest.mark.parametrize("arguments", WRONG_USAGE.values(), ids=WRONG_USAGE.keys())
def test_wrong_usage_exits_2_with_advice(arguments: tuple[str, ...], callboard: Run) -> None:
    engine = () if "--engine" in arguments else ("--engine", "inline")
    ended = callboard("run", *arguments, *engine)
    assert ended.code == ExitCode.USAGE, ended
    assert "Error: " in ended.err
    assert len(ended.err.strip().splitlines()) >= 2, "a problem, and what to do about it"
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (("jobs:fails",), "LookupError: nothing there"),
        (("jobs:Player", "--request", '{"n": -1}'), "below zero"),
        (
            ("jobs:Referee", "--contract", "Ping", "--request", '{"n": 1}'),
            "no actor offers jobs.Ping",
        ),
    ],
)
def test_failed_work_exits_1_and_names_the_failure(
    target: tuple[str, ...], says: str, callboard: Run
) -> None:
    ended = callboard("run", *target, *INLINE)
    assert ended.code == ExitCode.FAILED
    assert says in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("target", [("jobs:fails",), ("jobs:Player", "--request", '{"n": -1}')])
def test_verbose_shows_the_traceback_of_where_it_failed(
    target: tuple[str, ...], callboard: Run
) -> None:
    ended = callboard("run", *target, *INLINE, "--verbose")
    assert "Traceback" in ended.err
    assert "jobs.py" in ended.err


def test_a_module_that_cannot_be_imported_is_failed_work(callboard: Run, folder: Path) -> None:
    (folder / "broken.py").write_text("import a_package_that_is_not_there\n")
    ended = callboard("run", "broken:main", *INLINE)
    assert ended.code == ExitCode.FAILED
    assert "a_package_that_is_not_there" in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("jobs:Referee", "--contract", "Wait", "--request", '{"s": 60}', "--timeout", "0.3"),
        ("jobs:too_late",),
        ("sleeps.py", "--timeout", "0.3"),
    ],
)
def test_a_timeout_exits_4(arguments: tuple[str, ...], callboard: Run, folder: Path) -> None:
    (folder / "sleeps.py").write_text("import time\ntime.sleep(60)\n")
    began = time.monotonic()
    ended = callboard("run", *arguments, *INLINE)
    assert ended.code == ExitCode.TIMEOUT
    assert time.monotonic() - began < 10.0


def test_a_port_without_a_listener_exits_3(callboard: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    began = time.monotonic()
    ended = callboard("run", "jobs:hosts", "--engine", "ray", "--address", address)
    assert ended.code == ExitCode.UNREACHABLE
    assert address in ended.err
    assert "callboard doctor" in ended.err
    assert time.monotonic() - began < 10.0


def test_a_port_that_never_answers_exits_3_within_10_seconds(start: Run) -> None:
    # On all interfaces: for Ray, 127.0.0.1 means an address that other nodes reach.
    with socket.create_server(("", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        ended = start("run", "jobs:hosts", "--engine", "ray", "--address", address).end(10.0)
    assert ended.code == ExitCode.UNREACHABLE
    assert "no answer within" in ended.err


# --- Ctrl-C ---------------------------------------------------------------------------------------


def test_ctrl_c_inline_exits_130(start: Run) -> None:
    asked = ("--contract", "Wait", "--request", '{"s": 60}')
    process = start("run", "jobs:Referee", *INLINE, *asked)
    process.wait_for("up")
    process.interrupt()
    ended = process.end(5.0)
    assert ended.code == ExitCode.INTERRUPTED
    assert "Traceback" not in ended.err


@pytest.mark.ray
def test_ctrl_c_in_the_middle_leaves_nothing_on_ray(start: Run) -> None:
    process = start("run", "jobs:hangs", *RAY)
    process.wait_for("up")
    process.interrupt()
    ended = process.end(5.0)
    assert ended.code == ExitCode.INTERRUPTED
    assert process.left_behind() == []


@pytest.mark.ray
@pytest.mark.soak
def test_a_timeout_leaves_nothing_on_ray(start: Run) -> None:
    process = start("run", "jobs:hangs", *RAY, "--timeout", "15")
    process.wait_for("up")
    assert process.end().code == ExitCode.TIMEOUT
    assert process.left_behind() == []


@pytest.mark.soak
@pytest.mark.ray
def test_an_actor_of_the_working_folder_is_asked_on_ray(start: Run) -> None:
    process = start("run", "jobs:Player", *RAY, "--request", '{"n": 5}', "--json")
    ended = process.end()
    assert ended.code == ExitCode.OK, ended.err
    reply = json.loads(ended.out.splitlines()[-1])["result"]
    assert reply["n"] == 5
    assert reply["host"].startswith("host-")
    assert process.left_behind() == []


@pytest.mark.soak
@pytest.mark.ray
def test_failed_work_on_ray_exits_1(start: Run) -> None:
    ended = start("run", "jobs:Player", *RAY, "--request", '{"n": -5}').end()
    assert ended.code == ExitCode.FAILED
    assert "below zero" in ended.err
    assert "Traceback" not in ended.err
