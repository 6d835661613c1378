"""`callboard pipelines` and `callboard letters`, on a store without a running system."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callboard.runtime.cli.outcome import ExitCode

Run = Callable[..., Any]
PIPELINE = """\
name: orders
stages:
  - {name: parse, type: parse}
  - {name: large, type: filter, configuration: {where: amount >= 10, reason: small}}
configuration:
  source: {type: files, pattern: "%s"}
  sink: {type: table, key: [id]}
monitoring: {letters_share_max: %s}
"""


class Folder:
    """A pipeline in a file, its input, and its store."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "orders.yaml"
        self.store = str(folder / "orders.db")
        self.input = folder / "in.jsonl"
        rows = [{"id": n, "amount": n} for n in range(30)]
        lines = [json.dumps(row) if row["id"] % 10 else "{bad" for row in rows]
        self.input.write_text("\n".join(lines))
        self.allow(0.5)

    def allow(self, share: float) -> None:
        """Write the pipeline with this share of dead letters."""
        self.file.write_text(PIPELINE % (self.input, share))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def ended(callboard: Run, folder: Folder) -> Folder:
    """The folder after a run."""
    assert callboard("pipelines", "run", str(folder.file), "--store", folder.store).code == 0
    return folder


def letters(callboard: Run, folder: Folder, *options: str) -> list[dict[str, Any]]:
    done = callboard("letters", "list", folder.store, "--json", *options)
    found: list[dict[str, Any]] = json.loads(done.out)["letters"]
    return found


def test_a_file_is_checked(callboard: Run, folder: Folder) -> None:
    done = callboard("pipelines", "check", str(folder.file))
    assert (done.code, "parse → large" in done.out) == (ExitCode.OK, True)
    folder.file.write_text(folder.file.read_text().replace("filter", "fliter"))
    done = callboard("pipelines", "check", str(folder.file))
    assert done.code == ExitCode.USAGE
    assert "orders.yaml, line 4" in done.err


def test_a_run_shows_its_account_and_the_store_keeps_it(callboard: Run, ended: Folder) -> None:
    done = callboard("pipelines", "show", ended.store, "--json")
    (shown,) = json.loads(done.out)["pipelines"]
    assert (shown["state"], shown["problems"]) == ("ended", [])
    assert shown["account"]["stages"]["large"]["dropped"] == {"small": 9}
    assert (shown["account"]["delivered"], shown["account"]["letters_pending"]) == (18, 3)
    done = callboard("pipelines", "show", ended.store, "orders", "--rate", "0.01")
    assert done.code == ExitCode.OK
    for part in ("orders: ended", "9 small", "3 dead letters wait", "0 rows/s"):
        assert part in done.out


def test_letters_are_listed_and_shown(callboard: Run, ended: Folder) -> None:
    found = letters(callboard, ended)
    assert [(each["number"], each["stage"], each["original"]) for each in found] == [
        (number, "parse", "{bad") for number in (1, 2, 3)
    ]
    assert letters(callboard, ended, "--stage", "large") == []
    done = callboard("letters", "list", ended.store, "--limit", "2")
    assert "no JSON object" in done.out
    assert "--after 2" in done.err
    done = callboard("letters", "show", ended.store, "orders", "2")
    assert f"{ended.input}:" in done.out
    assert json.loads(callboard("letters", "show", ended.store, "orders", "2", "--json").out)


def test_letters_are_replayed_and_discarded_and_still_add_up(callboard: Run, ended: Folder) -> None:
    assert callboard("letters", "replay", ended.store, "orders", "1").code == 0
    done = callboard("letters", "discard", ended.store, "orders", "2")
    assert "1 letter of orders discarded" in done.out
    callboard("pipelines", "run", str(ended.file), "--store", ended.store)
    assert [(each["number"], each["attempt"]) for each in letters(callboard, ended)] == [
        (3, 1),
        (4, 2),
    ]
    assert callboard("letters", "discard", ended.store, "orders", "--all").code == 0
    (shown,) = json.loads(callboard("pipelines", "show", ended.store, "--json").out)["pipelines"]
    assert shown["problems"] == []
    assert shown["account"]["letters_discarded"] == 3


def test_over_the_cap_a_run_fails_and_resume_lets_it_go_on(callboard: Run, folder: Folder) -> None:
    folder.allow(0.01)
    folder.file.write_text(
        folder.file.read_text().replace(
            "{letters_share_max", "{letters_share_rows: 10, letters_share_max"
        )
    )
    done = callboard("pipelines", "run", str(folder.file), "--store", folder.store)
    assert done.code == ExitCode.FAILED
    assert "3 of the last 30 rows became dead letters" in done.out
    assert callboard("pipelines", "show", folder.store).code == ExitCode.FAILED
    folder.allow(0.5)
    assert "goes on" in callboard("pipelines", "resume", folder.store, "orders").out
    done = callboard("pipelines", "run", str(folder.file), "--store", folder.store)
    assert done.code == ExitCode.OK


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("letters", "list", "{folder}/none.db"), "there is no store"),
        (("letters", "show", "{store}", "orders", "99"), "has no dead letter 99"),
        (("letters", "replay", "{store}", "orders"), "by their numbers"),
        (("letters", "discard", "{store}", "orders", "1", "--all"), "by their numbers"),
        (("letters", "discard", "{store}", "orders", "99"), "has no dead letter 99"),
        (("pipelines", "show", "{store}", "other"), "There are: orders"),
        (("pipelines", "resume", "{store}", "other"), "no pipeline 'other'"),
        (("pipelines", "check", "{folder}/none.yaml"), "cannot be read"),
    ],
)
def test_wrong_commands_say_what_is_wrong(
    callboard: Run, ended: Folder, arguments: tuple[str, ...], said: str
) -> None:
    filled = [each.format(store=ended.store, folder=ended.file.parent) for each in arguments]
    done = callboard(*filled)
    assert done.code == ExitCode.USAGE
    assert said in done.err


def test_a_pipeline_without_its_ends_is_refused(callboard: Run, folder: Folder) -> None:
    text = folder.file.read_text()
    for wrong, said in (
        (text.replace("source:", "origin:"), "names no source"),
        (text.replace("pattern:", "patern:"), "is no setting"),
        (text.replace("type: table", "type: moon"), "choose one of"),
    ):
        folder.file.write_text(wrong)
        done = callboard("pipelines", "run", str(folder.file), "--store", folder.store)
        assert done.code == ExitCode.USAGE
        assert said in done.err
