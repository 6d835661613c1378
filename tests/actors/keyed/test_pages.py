"""The examples of docs/keyed.md and docs/mailboxes.md run."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("name", ["keyed", "mailboxes"])
async def test_examples_run(root: Path, name: str) -> None:
    page = (root / "docs" / f"{name}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert blocks
    names: dict[str, Any] = {"__name__": f"{name}_page"}
    for block in blocks:
        exec(compile(block, f"docs/{name}.md", "exec"), names)
    main = names.get("main")
    if inspect.iscoroutinefunction(main):
        await main()
