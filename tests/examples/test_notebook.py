"""The notebook runs from top to bottom, as a kernel runs it: its cells may await."""

import ast
import asyncio
import inspect
import json
import warnings
from pathlib import Path
from typing import Any

import pytest

import callboard
from callboard import System, errors

ENGINES = [
    pytest.param("inline", id="inline"),
    pytest.param("ray", id="ray", marks=[pytest.mark.ray, pytest.mark.soak]),
]


async def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell on the running loop, as IPython does; gives the value of its last expression."""
    tree = ast.parse(source)
    last = tree.body[-1]
    if isinstance(last, ast.Expr):
        tree.body[-1] = ast.copy_location(
            ast.Assign([ast.Name("_", ast.Store())], last.value), last
        )
    code = compile(
        ast.fix_missing_locations(tree), "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    )
    outcome = eval(code, names)
    if inspect.iscoroutine(outcome):
        await outcome
    return names.get("_")


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_notebook_runs_from_top_to_bottom(
    engine: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLBOARD_ENGINE", engine)
    notebook = json.loads((root / "examples" / "notebook.ipynb").read_text("utf-8"))
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = {
        cell["id"]: await run_cell("".join(cell["source"]), names)
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    }
    assert shown["system"] == 2
    assert shown["ask"].endswith(" wide lines")
    assert shown["again"] >= 0
    assert all(not cell.get("outputs") for cell in notebook["cells"]), (
        "no outputs in the repository"
    )


async def test_run_on_a_running_loop_says_what_to_use() -> None:
    async def main(system: System) -> int:
        return system.living_hosts

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(errors.UsageError, match=r"async with callboard\.start\(\)"):
            callboard.run(main, engine="inline")
        await asyncio.sleep(0)
    assert not seen, "nothing was never awaited"
