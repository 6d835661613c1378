"""The examples in docs/plans.md run as they stand, from top to bottom."""

import re
from pathlib import Path
from typing import Any

PAGE = Path("docs/plans.md")


def test_examples_run(root: Path) -> None:
    text = (root / PAGE).read_text(encoding="utf-8")
    namespace: dict[str, Any] = {"__name__": "plans_page"}
    blocks = list(re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    assert len(blocks) >= 5
    for block in blocks:
        # Blank lines in front make a failure point at the page's own line.
        lines_before = text.count("\n", 0, block.start(1))
        exec(compile("\n" * lines_before + block[1], str(PAGE), "exec"), namespace)
