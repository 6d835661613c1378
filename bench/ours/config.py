"""`config`: how long all gates take for the files of fifteen repositories, on one core."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from bench.configuration import config_check, files_of
from bench.outcome import Outcome, Params
from callboard.actors.configuration.formats.draft import SourceFile
from callboard.actors.configuration.validation.gates import Terms, validate
from callboard.actors.configuration.validation.secrets import KeywordScanner

__all__ = ["run"]

ROUNDS = 3


def run(params: Params) -> Outcome:
    """Processor time of reading, judging and packing; the best of three rounds."""
    files = [SourceFile(path, text.encode()) for path, text in files_of(params["files"])]
    size = sum(len(file.data) for file in files)
    without = min(_seconds(files, Terms()) for _ in range(ROUNDS))
    with_scan = min(_seconds(files, Terms(scanner=KeywordScanner())) for _ in range(ROUNDS))
    return Outcome(
        {
            "validate_s": without,
            "validate_with_secrets_s": with_scan,
            "files_per_s": len(files) / without,
            "mb_per_s": size / 1e6 / without,
        },
        config_check(len(files), size),
        ("processor time of one core; files in memory",),
    )


def _seconds(files: Sequence[SourceFile], terms: Terms) -> float:
    begin = time.process_time()
    _, result = validate(files, terms, timestamp=datetime.now(UTC))
    assert len(result.files) == len(files), "each file has an end"
    return time.process_time() - begin
