"""The checks of a machine: each limit from both sides, on any machine."""

from pathlib import Path

import pytest

from callboard.runtime.doctor.check import Check, Status, guarded, worst
from callboard.runtime.doctor.machine import (
    GIB,
    MIB,
    available_memory_bytes,
    check_disk,
    check_memory,
    check_open_files,
    check_python,
    check_ray,
    check_shared_memory,
    check_uvloop,
    imported_version,
    is_writable,
    open_files_limit,
    ray_temporary_folder,
    shared_memory_bytes,
    usable_folder,
)

FOLDER = Path("/sessions/ray")


def found_version(version: str) -> Check:
    return check_ray(lambda _: version)


def missing(name: str) -> str:
    raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize(
    ("version", "status"),
    [((3, 10, 9), Status.FAIL), ((3, 11, 0), Status.OK), ((3, 14, 1), Status.OK)],
)
def test_python_must_be_new_enough(version: tuple[int, int, int], status: Status) -> None:
    assert check_python(version).status is status


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("2.51.2", Status.FAIL),
        ("2.53.0", Status.FAIL),  # Its dashboard has CVE-2026-27482.
        ("2.54.0", Status.OK),
        ("2.60.0", Status.OK),
        ("2.100.0rc1", Status.OK),
        ("3.0.0.dev0", Status.FAIL),
    ],
)
def test_ray_must_be_in_the_range_of_the_package(version: str, status: Status) -> None:
    assert found_version(version).status is status


def test_a_missing_ray_differs_from_a_ray_with_a_missing_dependency() -> None:
    absent = check_ray(missing)
    assert (absent.status, absent.found) == (Status.FAIL, "not installed")

    def incomplete(_: str) -> str:
        return missing("aiohttp")

    assert check_ray(incomplete).found == "needs aiohttp"
    assert "pip install" in check_ray(incomplete).advice


def test_a_ray_that_cannot_be_loaded_is_a_finding() -> None:
    def broken(_: str) -> str:
        raise OSError("libray.so: wrong ELF class")

    check = check_ray(broken)
    assert check.status is Status.FAIL
    assert "wrong ELF class" in check.found


def test_the_installed_ray_is_found() -> None:
    assert check_ray(imported_version).status is Status.OK


def test_uvloop_is_missed_but_not_on_windows() -> None:
    assert check_uvloop(missing, "linux").status is Status.WARN
    assert check_uvloop(missing, "win32").status is Status.OK
    assert check_uvloop(lambda _: "0.22.1", "darwin").found == "0.22.1"


@pytest.mark.parametrize(
    ("total_bytes", "free_bytes", "status"),
    [
        (100 * GIB, 50 * GIB, Status.OK),
        (20 * GIB, 4 * GIB, Status.WARN),
        (1_000 * GIB, 40 * GIB, Status.WARN),  # plenty, but over 95 % full
        (100 * GIB, GIB - 1, Status.FAIL),
    ],
)
def test_disk(total_bytes: int, free_bytes: int, status: Status) -> None:
    assert check_disk(FOLDER, total_bytes, free_bytes, writable=True).status is status


def test_a_folder_that_cannot_be_written_fails_however_large() -> None:
    check = check_disk(FOLDER, 100 * GIB, 90 * GIB, writable=False)
    assert check.status is Status.FAIL
    assert "RAY_TMPDIR" in check.advice


@pytest.mark.parametrize(
    ("size_bytes", "status"),
    [(None, Status.OK), (64 * MIB, Status.WARN), (GIB, Status.OK)],
)
def test_shared_memory(size_bytes: int | None, status: Status) -> None:
    assert check_shared_memory(size_bytes).status is status


@pytest.mark.parametrize(
    ("available_bytes", "status"),
    [(511 * MIB, Status.FAIL), (GIB, Status.WARN), (2 * GIB, Status.OK)],
)
def test_memory(available_bytes: int, status: Status) -> None:
    assert check_memory(available_bytes).status is status


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        (None, Status.OK),
        ((-1, -1), Status.OK),
        ((4_096, 4_096), Status.OK),
        ((1_024, 1_048_576), Status.WARN),
        ((255, 1_024), Status.FAIL),
    ],
)
def test_open_files(limits: tuple[int, int] | None, status: Status) -> None:
    assert check_open_files(limits).status is status


def test_advice_on_open_files_never_asks_for_more_than_the_hard_limit() -> None:
    assert "ulimit -n 65536." in check_open_files((1_024, -1)).advice
    low = check_open_files((1_024, 2_048)).advice
    assert "ulimit -n 2048." in low
    assert "administrator" in low


def test_a_container_limit_lowers_the_available_memory(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(f"{8 * MIB}\n")
    (tmp_path / "memory.current").write_text(f"{3 * MIB}\n")
    assert available_memory_bytes(tmp_path) == 5 * MIB
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory_bytes(tmp_path) > 8 * MIB


def test_folders(tmp_path: Path) -> None:
    assert ray_temporary_folder({"RAY_TMPDIR": str(tmp_path)}) == tmp_path / "ray"
    assert usable_folder(tmp_path / "not" / "there") == tmp_path
    assert is_writable(tmp_path / "not" / "there")
    assert shared_memory_bytes(tmp_path / "missing") is None
    assert (shared_memory_bytes(tmp_path) or 0) > 0


def test_the_limits_of_this_process_can_be_judged() -> None:
    limits = open_files_limit()
    assert limits is None or len(limits) == 2
    assert check_open_files(limits).name == "open files"


def test_a_check_that_raises_is_a_finding() -> None:
    def explode() -> Check:
        raise PermissionError("no such luck")

    check = guarded("memory", explode)
    assert (check.name, check.status) == ("memory", Status.FAIL)
    assert "no such luck" in check.found


def test_the_worst_status_wins() -> None:
    ok = Check("a", Status.OK, "fine")
    warn = Check("b", Status.WARN, "hm", "do")
    fail = Check("c", Status.FAIL, "no", "do")
    assert worst([]) is Status.OK
    assert worst([ok, warn]) is Status.WARN
    assert worst([ok, fail, warn]) is Status.FAIL


def test_a_finding_without_advice_is_a_programming_error() -> None:
    with pytest.raises(AssertionError):
        Check("a", Status.WARN, "hm")
