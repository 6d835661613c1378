"""The examples in docs/main-job.md run as they stand, and the tests it names are there."""

import re
import sys
import types
from pathlib import Path

PAGE = Path("docs/main-job.md")


def test_examples_run(root: Path) -> None:
    text = (root / PAGE).read_text(encoding="utf-8")
    # A module of its own: contracts are named by theirs, and annotations are looked up in it.
    page = types.ModuleType("main_job_page")
    sys.modules[page.__name__] = page
    try:
        blocks = list(re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
        assert len(blocks) >= 5
        for block in blocks:
            # Blank lines in front make a failure point at the page's own line.
            lines_before = text.count("\n", 0, block.start(1))
            exec(compile("\n" * lines_before + block[1], str(PAGE), "exec"), page.__dict__)
    finally:
        del sys.modules[page.__name__]


def test_named_tests_exist(root: Path) -> None:
    folder = Path(__file__).parent
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (root / PAGE).read_text(encoding="utf-8"))
    assert len(named) >= 9
    for file, test in named:
        assert f"def {test}(" in (folder / file).read_text(encoding="utf-8"), f"{file}::{test}"
