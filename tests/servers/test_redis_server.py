"""The Redis of the tests, and its faults."""

import pytest
import redis

from tests.servers.redis_server import RedisServer


@pytest.fixture
def client(redis_server: RedisServer) -> redis.Redis:
    return redis.from_url(redis_server.url, socket_timeout=0.2)


def test_it_answers_and_is_flushed(redis_server: RedisServer, client: redis.Redis) -> None:
    client.set("key", b"value")
    assert client.get("key") == b"value"
    redis_server.flush()
    assert client.get("key") is None


def test_a_restart_empties_it(redis_server: RedisServer, client: redis.Redis) -> None:
    client.set("key", b"value")
    before = redis_server.pid
    redis_server.restart()
    assert redis_server.pid != before
    assert client.get("key") is None


def test_a_killed_server_refuses_and_starts_again(
    redis_server: RedisServer, client: redis.Redis
) -> None:
    redis_server.kill()
    assert not redis_server.is_running
    with pytest.raises(redis.ConnectionError):
        client.get("key")
    redis_server.start()
    assert client.ping()


def test_a_paused_server_answers_late(redis_server: RedisServer, client: redis.Redis) -> None:
    client.ping()
    redis_server.pause()
    with pytest.raises(redis.TimeoutError):
        client.get("key")
    redis_server.resume()
    assert client.ping()


def test_each_test_begins_with_an_empty_server(client: redis.Redis) -> None:
    assert client.dbsize() == 0
