"""Real files with an answer key, where `CALLBOARD_CONFIGURATION_DATA` names their folder."""

import csv
import functools
import json
import os
import random
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from bench.configuration import synthetic
from callboard.actors.configuration.formats.draft import SourceFile
from callboard.actors.configuration.formats.front_matter import front_matter
from callboard.actors.configuration.formats.plugin_tables import MARKETPLACE, PLUGIN
from callboard.actors.configuration.formats.settings_table import SETTINGS
from callboard.actors.configuration.package import Finding
from callboard.actors.configuration.validation.gates import Terms, validate
from callboard.actors.configuration.validation.secrets import KeywordScanner
from callboard.runtime.configuration.folder import read_folder

from .mutations import mutated

VARIABLE = "CALLBOARD_CONFIGURATION_DATA"
DATA = Path(os.environ.get(VARIABLE, "nowhere"))
NOW = datetime(2026, 12, 1, tzinfo=UTC)
TABLES: dict[str, dict[str, Any]] = {
    "claude-code-settings": SETTINGS,
    "claude-code-plugin-manifest": PLUGIN,
    "claude-code-marketplace": MARKETPLACE,
}

needs_data = pytest.mark.skipif(
    not (DATA / "INDEX.tsv").exists(), reason=f"{VARIABLE} names no folder with an INDEX.tsv"
)


@functools.cache
def findings() -> dict[str, list[Finding]]:
    _, result = validate(read_folder(DATA), timestamp=NOW)
    found: dict[str, list[Finding]] = {path: [] for path in result.files}
    for one in result.findings:
        found[one.path].append(one)
    return found


def rows() -> list[dict[str, str]]:
    with (DATA / "INDEX.tsv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


@needs_data
def test_every_row_of_the_key_is_answered() -> None:
    missing = []
    for row in rows():
        found = findings()[row["path"]]
        said = {one.code for one in found} | {one.rule for one in found}
        wanted = {code for code in row["findings"].split(";") if code}
        is_legal = row["kind"] == "command" and row["strict_parse"] == "no-front-matter"
        if row["strict_parse"] != "ok" and not is_legal:
            repaired = f"front-matter-repaired:{row['strict_parse']}"
            wanted.add(repaired if repaired in said else row["strict_parse"])
        missing += [(row["path"], code) for code in sorted(wanted - said)]
        if row["strict_parse"] == "ok" and not row["findings"]:
            missing += [(row["path"], str(one)) for one in found if one.severity == "error"]
    assert missing == []


@needs_data
def test_the_second_try_recovers_what_the_key_says() -> None:
    wrong = []
    for row in rows():
        if row["kind"] == "json":
            continue
        read = front_matter((DATA / row["path"]).read_text(encoding="utf-8"))
        if row["strict_parse"] == "ok":
            assert not read.rule, row["path"]
        if row["kind"] == "agent" and row["name"]:
            assert read.fields["name"] == row["name"]
        for name, value in json.loads(row["recoverable"] or "{}").items():
            if read.fields.get(name) != value:
                wrong.append((row["path"], name))
    assert wrong == []


@needs_data
def test_published_examples_are_valid_and_counter_examples_are_not() -> None:
    wrong = []
    for folder, is_right in (("test", True), ("negative_test", False)):
        for path in sorted(DATA.glob(f"SchemaStore*/src/{folder}/*/*.json")):
            value = json.loads(path.read_text(encoding="utf-8"))
            errors = list(Draft7Validator(TABLES[path.parent.name]).iter_errors(value))
            if bool(errors) is is_right:
                wrong.append((path.name, [error.message for error in errors]))
            place = str(path.relative_to(DATA))
            found = [one for one in findings()[place] if one.rule == "schema-invalid"]
            if bool(found) is is_right:
                wrong.append((path.name, [str(one) for one in found]))
    assert wrong == []


def corpus() -> dict[str, bytes]:
    """Files to mutate and to multiply: ours, and the real ones where they are."""
    files = {path: text.encode() for path, text in synthetic()}
    if DATA.exists():
        files |= {one.path: one.data for one in read_folder(DATA) if one.data}
    return files


@pytest.mark.parametrize(
    "count", [2_000, pytest.param(100_000, marks=[pytest.mark.soak, pytest.mark.timeout(3_000)])]
)
def test_mutated_files_crash_nothing(count: int) -> None:
    choose = random.Random(f"mutated {count}")
    files = sorted((path, data) for path, data in corpus().items() if len(data) < 20_000)
    for _ in range(count // 50):
        batch = []
        for number in range(50):
            path, data = choose.choice(files)
            batch.append(SourceFile(f"{number}/{path}", mutated(data, choose)))
        package, result = validate(batch, Terms(scanner=KeywordScanner()), timestamp=NOW)
        assert len(result.files) == len(batch)
        assert package.package_id
        assert all(one.line >= 1 for one in result.findings)


@pytest.mark.soak
def test_the_scale_of_fifteen_repositories_takes_seconds() -> None:
    files = sorted(corpus().items())
    many = [
        SourceFile(f"copy{number // len(files)}/{files[number % len(files)][0]}", data)
        for number in range(5_174)
        for data in [files[number % len(files)][1]]
    ]
    for scanner, limit_s in ((None, 10.0), (KeywordScanner(), 20.0)):
        begin = time.process_time()
        _, result = validate(many, Terms(scanner=scanner), timestamp=NOW)
        assert time.process_time() - begin < limit_s
        assert len(result.files) == 5_174
