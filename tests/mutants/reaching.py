"""Which tests reach which lines: a pytest plugin of the baseline, and what it has written.

A trial passes only the tests that reach the changed line, the quickest first.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import coverage
import pytest

__all__ = ["FILES", "WRITTEN", "Reach"]

FILES: Final = "CALLBOARD_MUTANTS_FILES"
"""The files that are watched, as paths from the folder of the run."""
WRITTEN: Final = "CALLBOARD_MUTANTS_REACH"
"""Where to write."""


@final
@dataclass(frozen=True, slots=True)
class Reach:
    """What a target's tests reach."""

    tests: Mapping[str, float]
    """How many seconds each test takes, in the order in which they were passed."""
    lines: Mapping[str, Mapping[str, tuple[int, ...]]]
    """By file and line: the numbers of the tests. None at a line of the import: all may be."""

    @classmethod
    def read(cls, text: str) -> "Reach":
        """What a baseline has written."""
        data = json.loads(text)
        return cls(data["tests"], data["lines"])

    def of(self, file: str, lines: range) -> list[str]:
        """The tests that reach any of these lines, the quickest first."""
        names, known = list(self.tests), self.lines.get(file, {})
        numbers: set[int] = set()
        for line in lines:
            found = known.get(str(line), ())
            numbers.update(found)
            if str(line) in known and not found:
                numbers.update(range(len(names)))
        return sorted((names[number] for number in numbers), key=self.tests.__getitem__)

    def seconds(self, tests: Iterable[str]) -> float:
        """How long these tests take together."""
        return sum(self.tests[name] for name in tests)


@final
class Recorder:
    """Watches the files, and writes at the end of the session."""

    def __init__(self, folder: Path, files: list[str], written: Path) -> None:
        self._folder, self._files, self._written = folder, files, written
        self._tests: dict[str, float] = {}
        self._coverage = coverage.Coverage(
            data_file=None, include=[str(folder / file) for file in files], config_file=False
        )
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """What runs now, also in fixtures, is this test's."""
        self._coverage.switch_context(item.nodeid)
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Set-up, call and clean-up together."""
        self._tests[report.nodeid] = self._tests.get(report.nodeid, 0.0) + report.duration

    def pytest_sessionfinish(self) -> None:
        """Write what was seen."""
        self._coverage.stop()
        data = self._coverage.get_data()
        numbers = {name: number for number, name in enumerate(self._tests)}
        lines = {
            file: {
                line: [] if "" in names else sorted(numbers[name] for name in names)
                for line, names in data.contexts_by_lineno(str(self._folder / file)).items()
            }
            for file in self._files
        }
        self._written.write_text(json.dumps({"tests": self._tests, "lines": lines}))


def pytest_configure(config: Any) -> None:
    """Watch, if this run is a baseline."""
    if WRITTEN in os.environ:
        folder = Path(str(config.rootpath)).resolve()
        recorder = Recorder(folder, os.environ[FILES].split(os.pathsep), Path(os.environ[WRITTEN]))
        config.pluginmanager.register(recorder, "callboard-mutants")
