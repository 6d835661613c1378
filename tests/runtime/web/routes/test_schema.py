"""The OpenAPI document is complete, and requests that others draw from it break nothing."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from callboard.messages.control.principals import ALL_SCOPES

from .api_world import World, api_world

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance"
LIMIT_S = 540


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with api_world(tmp_path) as world:
        yield world


async def document(world: World) -> dict[str, Any]:
    async with world.client() as client:
        found: dict[str, Any] = (await client.get("openapi.json")).json()
        return found


async def test_the_document_has_every_route_with_its_refusals(world: World) -> None:
    found = await document(world)
    assert found["openapi"].startswith("3.1")
    names = [
        operation["operationId"] for path in found["paths"].values() for operation in path.values()
    ]
    assert len(names) == len(set(names))
    for path, operations in found["paths"].items():
        if not path.startswith("/v1/") or path == "/v1/stream":
            continue
        for method, operation in operations.items():
            assert operation["summary"], path
            for status in ("401", "404", "422", "500"):
                content = operation["responses"][status]["content"]
                assert list(content) == ["application/problem+json"], (method, path, status)


@pytest.mark.parametrize(
    ("phases", "examples"),
    [
        ("examples,fuzzing", "2"),
        pytest.param("coverage,fuzzing", "30", marks=pytest.mark.soak),
    ],
)
async def test_drawn_requests_get_what_the_document_says(
    world: World, tmp_path: Path, phases: str, examples: str
) -> None:
    pytest.importorskip("schemathesis", reason="pip install schemathesis")
    await world.run("one")
    token = await world.token(*ALL_SCOPES, publishes=("*",))
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        *("run", f"{world.url}openapi.json", "--max-examples", examples, "--seed", "7"),
        *("--exclude-path", "/v1/stream", "--no-color", "--phases", phases),
        *("--header", f"Authorization: Bearer {token}"),
        *("--checks", CHECKS),
    ]
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-500:]
