"""Temporary folders: a killed process leaves one behind, and the next process removes it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from callboard.runtime.objects.scratch import PREFIX, ScratchFolder

HOLDER = """
import sys, time
from callboard.runtime.objects.scratch import ScratchFolder

folder = ScratchFolder()
(folder.path / "file").write_text("x")
print(folder.path, flush=True)
sys.stdin.read()
"""


def test_the_folder_of_a_killed_process_goes_and_that_of_a_living_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(2)
    ]
    paths = []
    for process in processes:
        assert process.stdout is not None
        paths.append(Path(process.stdout.readline().strip()))
    processes[0].send_signal(signal.SIGKILL)
    processes[0].wait()
    mine = ScratchFolder()
    assert not paths[0].exists()
    assert (paths[1] / "file").exists()
    mine.remove()
    mine.remove()
    assert [path.name for path in tmp_path.glob(f"{PREFIX}*")] == [paths[1].name]
    for process in processes:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
