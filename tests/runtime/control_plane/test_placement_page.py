"""The examples in docs/placement.md run as they stand."""

import re
import sys
import types
from pathlib import Path

PAGE = Path("docs/placement.md")


def test_examples_run(root: Path) -> None:
    text = (root / PAGE).read_text(encoding="utf-8")
    # A module of its own: contracts are named by theirs, and annotations are looked up in it.
    page = types.ModuleType("placement_page")
    sys.modules[page.__name__] = page
    try:
        blocks = list(re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
        assert len(blocks) >= 2
        for block in blocks:
            # Blank lines in front make a failure point at the page's own line.
            lines_before = text.count("\n", 0, block.start(1))
            exec(compile("\n" * lines_before + block[1], str(PAGE), "exec"), page.__dict__)
    finally:
        del sys.modules[page.__name__]
