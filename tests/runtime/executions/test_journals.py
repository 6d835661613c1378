"""The lock of a journal's file."""

import fcntl
from pathlib import Path

from callboard.runtime.stores.file_lock import FileLock


def test_a_check_for_an_instant_does_not_keep_a_writer_away(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    flow_control: list[float] = []
    (tmp_path / "j.db.lock").touch()
    with (tmp_path / "j.db.lock").open("rb") as asking:
        fcntl.flock(asking, fcntl.LOCK_SH | fcntl.LOCK_NB)

        def pause(seconds: float) -> None:
            flow_control.append(seconds)
            fcntl.flock(asking, fcntl.LOCK_UN)

        lock = FileLock(path, pause=pause)
        assert lock.take()
    assert len(flow_control) == 1
    lock.release()


def test_a_writer_keeps_others_away(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "j.db"), FileLock(tmp_path / "j.db")
    assert first.take()
    assert not second.take()
    first.release()
    assert second.take()
    second.release()
