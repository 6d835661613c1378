"""A side that does what a test asks of it, as a module that only the tests know."""

import os
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.outcome import Params, check_of
from bench.registry import Bench, Requirement, Side

FAKE_SIDE = textwrap.dedent(
    '''
    """Behaves, or misbehaves, as its figure says; `scale` is the value it claims."""

    import os
    import subprocess
    import sys
    import time

    from bench.entry import serve
    from bench.outcome import Outcome, check_of


    def good(params):
        print("a library that prints on standard output")
        os.write(1, b"and native code that does\\n")
        scale = params["scale"]
        return Outcome(
            {"things_per_s": 10.0 * scale, "wait_ms": 8.0 / scale, "things": 3.0},
            check_of(params["size"]),
            ("a note",),
        )


    def wrong(params):
        return Outcome({"things_per_s": 1e9}, check_of("something else"))


    def crash(params):
        raise RuntimeError("the side broke")


    def hang(params):
        # One child in the side's session, and one that made a session of its own.
        sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
        children = [
            subprocess.Popen(sleeper),
            subprocess.Popen(sleeper, start_new_session=True),
        ]
        with open(os.environ["FAKE_SIDE_PIDS"], "w") as file:
            file.write(" ".join(str(pid) for pid in [os.getpid(), *(c.pid for c in children)]))
        if params["size"] == 0:
            return Outcome({}, check_of(0))
        time.sleep(600)


    if __name__ == "__main__":
        serve({"good": good, "wrong": wrong, "crash": crash, "hang": hang})
    '''
)

FULL_SIZE = 7


@pytest.fixture(autouse=True)
def fake_side_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "callboard_fake_side.py").write_text(FAKE_SIDE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)


def fake_side(
    name: str,
    *,
    scale: int = 1,
    size: int = FULL_SIZE,
    requires: tuple[Requirement, ...] = (),
    always: bool = False,
    module: str = "callboard_fake_side",
) -> Side:
    sizes = {"size": size, "scale": scale}
    return Side(name, module, sizes, {**sizes, "size": 1}, requires, always=always)


def expected_check(params: Params) -> str:
    return check_of(params["size"])


MakeSide = Callable[..., Side]
MakeBench = Callable[..., Bench]


@pytest.fixture
def make_side() -> MakeSide:
    return fake_side


@pytest.fixture
def make_bench() -> MakeBench:
    def make(
        figure: str = "good",
        *,
        ours: Side | None = None,
        peers: tuple[Side, ...] = (),
        timeout_s: float = 30.0,
    ) -> Bench:
        ours = ours or fake_side("callboard", scale=4, always=True)
        return Bench(figure, "Does the harness work?", ours, peers, expected_check, timeout_s)

    return make
