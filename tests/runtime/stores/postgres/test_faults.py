"""A log in PostgreSQL under faults of the server, the network and other writers."""

import itertools
import random
import threading
import time
from collections.abc import Callable

import pytest

from callboard.messages.core.errors import SpecError
from callboard.messages.storage.errors import (
    CommitUnknown,
    StoreDamaged,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
    WriterFenced,
)
from callboard.messages.storage.events import NO_STREAM, Appended
from callboard.messages.storage.stores import StateRow
from callboard.runtime.stores.postgres.events import PostgresEventStore
from callboard.runtime.stores.postgres.read_models import PostgresReadModelStore
from callboard.runtime.stores.postgres.states import PostgresStateStore
from tests.runtime.stores.postgres.drive import SHORT, append, check_log, committed, opened
from tests.servers.postgres_server import PASSWORD, PASSWORD_ROLE, PostgresServer
from tests.servers.proxy import Cut, Proxy

ENDS = [PostgresServer.stop, PostgresServer.stop_at_once, PostgresServer.kill]


# --- the server ------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_a_restart_between_commits_is_not_noticed(
    end: Callable[[PostgresServer], None], postgres_server: PostgresServer, postgres_url: str
) -> None:
    with opened(postgres_url) as store:
        store.commit([append("a", b"1")])
        assert store.head() == 1
        end(postgres_server)
        postgres_server.start()
        assert store.commit([append("a", b"2")]) == [Appended(2, 2, 2)]
        assert check_log(store) == [b"1", b"2"]


def test_a_store_waits_for_a_server_that_comes_back(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    with opened(postgres_url) as store:
        postgres_server.stop()
        starting = threading.Timer(0.3, postgres_server.start)
        starting.start()
        assert store.commit([append("a", b"1")]) == [Appended(1, 1, 1)]
        starting.join(30)


@pytest.mark.soak
def test_a_server_that_stays_away_is_reported_in_time(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    with opened(postgres_url) as store:
        postgres_server.stop()
        began_s = time.monotonic()
        with pytest.raises(StoreUnavailable) as refused:
            store.commit([append("a", b"1")])
        with pytest.raises(StoreUnavailable):
            store.read(0, 10)
        assert time.monotonic() - began_s < 2 * SHORT.reconnect_s + 5
        assert not refused.value.may_have_run
        postgres_server.start()
        assert store.commit([append("a", b"1")]) == [Appended(1, 1, 1)]


@pytest.mark.parametrize("restarts", [2, pytest.param(8, marks=pytest.mark.soak)])
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_restarts_during_commits_lose_and_double_nothing(
    end: Callable[[PostgresServer], None],
    restarts: int,
    postgres_server: PostgresServer,
    postgres_url: str,
) -> None:
    acknowledged: list[bytes] = []
    enough = threading.Event()
    errors: list[BaseException] = []

    def write() -> None:
        try:
            with opened(postgres_url) as store:
                for number in itertools.count():
                    if enough.is_set():
                        return
                    data = [b"%d/%d" % (number, part) for part in range(3)]
                    committed(store, [append(f"s{number % 5}", part) for part in data])
                    acknowledged.extend(data)
        except BaseException as error:  # noqa: BLE001 - the test's thread raises it
            errors.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    chance = random.Random(7)
    try:
        for _ in range(restarts):
            _wait(_more(acknowledged, errors))
            threading.Event().wait(chance.uniform(0, 0.02))
            end(postgres_server)
            postgres_server.start()
        _wait(_more(acknowledged, errors))
    finally:
        enough.set()
        writer.join(60)
    assert not errors
    with opened(postgres_url, take_over=False) as store:
        assert check_log(store) == acknowledged


def test_a_silent_server_is_given_up(postgres_server: PostgresServer, postgres_url: str) -> None:
    with opened(postgres_url) as store:
        group = [append("a", b"1", expected=NO_STREAM)]
        postgres_server.pause()
        try:
            began_s = time.monotonic()
            with pytest.raises(CommitUnknown) as unknown:
                store.commit(group)
            assert time.monotonic() - began_s < 10
        finally:
            postgres_server.resume()
        assert unknown.value.may_have_run
        (result,) = committed(store, group)
        assert (result.first, result.version) == (1, 1)
        assert check_log(store) == [b"1"]


# --- the network -----------------------------------------------------------------------------


@pytest.mark.parametrize("cut", list(Cut))
def test_a_connection_cut_in_a_commit_is_unknown_and_then_exact(
    cut: Cut, postgres_proxy: Proxy, proxied_url: str
) -> None:
    with opened(proxied_url) as store:
        store.commit([append("a", b"before")])
        group = [append("a", b"marked 1", b"more"), append("b", b"other")]
        postgres_proxy.arm(b"marked 1", cut)
        with pytest.raises(CommitUnknown):
            store.commit(group)
        assert postgres_proxy.cuts == 1
        results = committed(store, group)
        assert [(result.first, result.version) for result in results] == [(2, 3), (4, 1)]
        if cut is not Cut.MEANWHILE:
            assert {result.is_repeat for result in results} == {cut is Cut.AFTER}
        assert check_log(store) == [b"before", b"marked 1", b"more", b"other"]


def test_cuts_at_any_moment_lose_and_double_nothing(
    postgres_proxy: Proxy, proxied_url: str
) -> None:
    chance = random.Random(11)
    written: list[bytes] = []
    ended = threading.Event()

    def cut() -> None:
        # The pause doubles after each cut without a commit between. Otherwise a commit with a new
        # connection would never succeed on a busy machine.
        seen, factor = 0, 1
        while not ended.wait(chance.uniform(0.001, 0.02) * factor):
            factor = factor * 2 if len(written) == seen else 1
            seen = len(written)
            postgres_proxy.cut_all()

    cutter = threading.Thread(target=cut)
    with opened(proxied_url) as store:
        cutter.start()
        try:
            for number in range(300):
                data = b"%d" % number
                committed(store, [append(f"s{number % 7}", data)], tries=200)
                written.append(data)
        finally:
            ended.set()
            cutter.join(30)
        assert check_log(store) == written
        assert postgres_proxy.accepted > 3


def test_a_read_is_repeated_on_a_new_connection(postgres_proxy: Proxy, proxied_url: str) -> None:
    with opened(proxied_url) as store:
        store.commit([append("marked 2", b"1")])
        store.read_stream("other")
        postgres_proxy.arm(b"marked 2", Cut.BEFORE)
        assert [found.data for found in store.read_stream("marked 2")] == [b"1"]
        assert postgres_proxy.cuts == 1


def test_a_frozen_network_is_given_up(postgres_proxy: Proxy, proxied_url: str) -> None:
    with opened(proxied_url) as store:
        postgres_proxy.freeze()
        with pytest.raises(CommitUnknown):
            store.commit([append("a", b"1", expected=NO_STREAM)])
        postgres_proxy.thaw()
        group = [append("a", b"2")]
        committed(store, group)
        # The frozen commit may have arrived late, but not in between.
        assert check_log(store)[-1] == b"2"


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
def test_states_and_read_models_report_an_unknown_outcome(
    cut: Cut, postgres_proxy: Proxy, proxied_url: str
) -> None:
    states = PostgresStateStore(proxied_url, timeouts=SHORT)
    models = PostgresReadModelStore(proxied_url, timeouts=SHORT)
    try:
        states.open()
        models.open()
        postgres_proxy.arm(b"marked 3", cut)
        rows = [StateRow("a", 1, b"marked 3")]
        with pytest.raises(CommitUnknown):
            states.upsert("t", rows)
        assert states.upsert("t", rows) == [cut is Cut.BEFORE]
        assert states.find_by_ids("t", ["a"]) == [*rows]
        postgres_proxy.arm(b"marked 4", cut)
        with pytest.raises(CommitUnknown):
            models.apply("m", 0, 5, {"k": b"marked 4"})
        assert models.apply("m", 0, 5, {"k": b"marked 4"}) == (cut is Cut.BEFORE)
        assert (models.position("m"), models.items("m")) == (5, [("k", b"marked 4")])
    finally:
        states.close()
        models.close()


# --- other writers ---------------------------------------------------------------------------


def test_an_old_writer_is_fenced(postgres_url: str) -> None:
    with opened(postgres_url) as old, opened(postgres_url, take_over=False) as new:
        old.commit([append("a", b"1")])
        assert new.take_over("new") == 2
        with pytest.raises(WriterFenced):
            old.commit([append("a", b"2")])
        new.commit([append("a", b"3")])
        with pytest.raises(WriterFenced):
            old.commit([append("b", b"4")])
        assert check_log(new) == [b"1", b"3"]


def test_an_old_writer_that_was_cut_off_is_fenced_when_it_is_back(
    postgres_proxy: Proxy, proxied_url: str, postgres_url: str
) -> None:
    with opened(proxied_url) as old, opened(postgres_url, take_over=False) as new:
        old.commit([append("a", b"1")])
        postgres_proxy.refuse()
        new.take_over("new")
        new.commit([append("a", b"2")])
        postgres_proxy.accept()
        with pytest.raises(WriterFenced):
            old.commit([append("a", b"3")])
        assert check_log(new) == [b"1", b"2"]


def test_a_commit_that_arrives_after_the_take_over_keeps_nothing(
    postgres_proxy: Proxy, proxied_url: str, postgres_url: str
) -> None:
    with opened(proxied_url) as old, opened(postgres_url, take_over=False) as new:
        old.commit([append("a", b"1")])
        postgres_proxy.freeze()
        late = threading.Thread(target=_commit_whatever_happens, args=(old,))
        late.start()
        try:
            new.take_over("new")
            new.commit([append("a", b"2")])
        finally:
            postgres_proxy.thaw()
            late.join(30)
        assert check_log(new) == [b"1", b"2"]


def test_many_take_overs_leave_one_history(postgres_url: str) -> None:
    """Writers that fence each other all the time: each acknowledged event is there once."""
    acknowledged: list[list[bytes]] = [[] for _ in range(4)]

    def write(number: int) -> None:
        with opened(postgres_url) as store:
            for count in range(40):
                data = b"%d/%d" % (number, count)
                while True:
                    try:
                        store.commit([append(f"s{count % 3}", data)])
                    except WriterFenced:
                        store.take_over(f"writer {number}")
                        continue
                    acknowledged[number].append(data)
                    break

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    with opened(postgres_url, take_over=False) as store:
        found = check_log(store)
    assert sorted(found) == sorted(itertools.chain(*acknowledged))
    for number, own in enumerate(acknowledged):
        assert [data for data in found if data.startswith(b"%d/" % number)] == own


def test_readers_never_miss_an_event(postgres_url: str) -> None:
    events, readers = 600, 4
    seen: list[list[bytes]] = [[] for _ in range(readers)]
    done = threading.Event()

    def read(number: int) -> None:
        with opened(postgres_url, take_over=False) as store:
            deadline = time.monotonic() + 60
            while len(seen[number]) < events and time.monotonic() < deadline:
                seen[number] += [found.data for found in store.read(len(seen[number]), 50)]

    written = [b"%d" % number for number in range(events)]
    with opened(postgres_url) as first, opened(postgres_url, take_over=False) as second:
        threads = [threading.Thread(target=read, args=(number,)) for number in range(readers)]
        for thread in threads:
            thread.start()
        writers, position = (first, second), 0
        while position < events:
            # Both write in turn, so that positions come from several connections.
            writer = writers[(position // 60) % 2]
            writer.take_over("turn")
            for _ in range(20):
                writer.commit([append("s", data) for data in written[position : position + 3]])
                position += 3
        for thread in threads:
            thread.join(60)
        done.set()
    assert all(found == written for found in seen)


# --- the operator ----------------------------------------------------------------------------


def test_a_full_disk_is_reported_and_passes(
    postgres_server: PostgresServer, postgres_url: str, postgres_schema: str
) -> None:
    """The server raises `disk_full`, as when it cannot extend a table's file."""
    with opened(postgres_url) as store:
        postgres_server.execute(
            f"CREATE FUNCTION {postgres_schema}.full() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$"
        )
        postgres_server.execute(
            f"CREATE TRIGGER full_disk BEFORE INSERT ON {postgres_schema}.events "
            f"EXECUTE FUNCTION {postgres_schema}.full()"
        )
        group = [append("a", b"1")]
        with pytest.raises(StoreFull) as full:
            store.commit(group)
        assert not full.value.may_have_run
        postgres_server.execute(f"DROP TRIGGER full_disk ON {postgres_schema}.events")
        assert store.commit(group) == [Appended(1, 1, 1)]


def test_a_read_only_role_reads(
    postgres_server: PostgresServer, postgres_url: str, postgres_schema: str
) -> None:
    with opened(postgres_url) as store:
        store.commit([append("a", b"1")])
    role = f"reader_{postgres_schema}"
    postgres_server.execute(f"CREATE ROLE {role} LOGIN")
    postgres_server.execute(f"GRANT USAGE ON SCHEMA {postgres_schema} TO {role}")
    postgres_server.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {postgres_schema} TO {role}")
    url = postgres_server.url(user=role, schema=postgres_schema)
    with opened(url, take_over=False) as reader:
        assert check_log(reader) == [b"1"]
        with pytest.raises(StoreReadOnly):
            reader.take_over("reader")
    with (
        pytest.raises(StoreReadOnly),
        opened(postgres_server.url(user=role, schema="not_there"), take_over=False),
    ):
        pass


def test_a_read_only_server_is_reported(postgres_server: PostgresServer, postgres_url: str) -> None:
    with opened(postgres_url) as store:
        store.commit([append("a", b"1")])
        postgres_server.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        try:
            postgres_server.restart()
            with pytest.raises(StoreReadOnly):
                store.commit([append("a", b"2")])
            assert check_log(store) == [b"1"]
        finally:
            postgres_server.execute("ALTER SYSTEM RESET default_transaction_read_only")
            postgres_server.restart()


def test_a_lock_that_others_hold_too_long_is_reported(
    postgres_server: PostgresServer, postgres_url: str, postgres_schema: str
) -> None:
    import psycopg

    with opened(postgres_url) as store, psycopg.connect(postgres_server.url()) as other:
        other.execute(f"LOCK TABLE {postgres_schema}.writer".encode())
        group = [append("a", b"1")]
        with pytest.raises(StoreUnavailable) as locked:
            store.commit(group)
        assert not locked.value.may_have_run
        other.rollback()
        assert store.commit(group) == [Appended(1, 1, 1)]


def test_deleted_events_are_damage_not_silence(
    postgres_server: PostgresServer, postgres_url: str, postgres_schema: str
) -> None:
    with opened(postgres_url) as store:
        store.commit([append("a", b"1", b"2", b"3")])
        postgres_server.execute(f"DELETE FROM {postgres_schema}.events WHERE position = 2")
        with pytest.raises(StoreDamaged):
            store.read(0, 10)
        with pytest.raises(StoreDamaged):
            store.read_stream("a")


def test_a_server_that_does_not_sync_is_refused(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    postgres_server.execute("ALTER SYSTEM SET synchronous_commit = off")
    postgres_server.restart()
    try:
        # The session sets its own level, so a lower default is harmless.
        with opened(postgres_url) as store:
            rows = store.writing.run(lambda c: c.rows(b"SHOW synchronous_commit"), "asking")
            assert rows == [("on",)]
    finally:
        postgres_server.execute("ALTER SYSTEM RESET synchronous_commit")
        postgres_server.restart()
    other = PostgresServer(settings={"fsync": "off"})
    try:
        other.start()
        with pytest.raises(SpecError, match="fsync is off"):
            PostgresEventStore(other.url(), timeouts=SHORT).open()
        relaxed = PostgresEventStore(other.url(), timeouts=SHORT, durability="normal")
        relaxed.open()
        relaxed.close()
    finally:
        other.remove()


def test_a_password_is_never_shown(
    postgres_server: PostgresServer, postgres_schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    right = postgres_server.url(user=PASSWORD_ROLE, password=PASSWORD, schema=postgres_schema)
    with opened(right) as store:
        assert store.commit([append("a", b"1")]) == [Appended(1, 1, 1)]
        assert PASSWORD not in f"{store.name}{store!r}{store.writing.place!r}"
    wrong = right.replace(PASSWORD, f"{PASSWORD}-wrong")
    began_s = time.monotonic()
    with pytest.raises(StoreUnavailable) as refused:
        PostgresEventStore(wrong, timeouts=SHORT).open()
    assert time.monotonic() - began_s < SHORT.reconnect_s  # no repeated attempts
    with pytest.raises(SpecError) as unread:
        PostgresEventStore(f"postgresql://u:{PASSWORD}@@h:x:y/?schema=a&sslmode=%")
    for error in (refused.value, unread.value):
        assert PASSWORD not in _everything(error)
    assert PASSWORD not in caplog.text


def _everything(error: BaseException) -> str:
    text = f"{error!r}{error}{getattr(error, 'details', '')}"
    for further in (error.__cause__, error.__context__):
        if further is not None and not error.__suppress_context__:
            text += _everything(further)
    return text


def _commit_whatever_happens(store: PostgresEventStore) -> None:
    try:
        store.commit([append("late", b"late")])
    except (CommitUnknown, WriterFenced):
        return


def _more(acknowledged: list[bytes], errors: list[BaseException]) -> Callable[[], bool]:
    seen = len(acknowledged)
    return lambda: len(acknowledged) > seen + 60 or bool(errors)


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)
