"""Every bench and every peer, as data: the sides and their sizes.

A side is ours or a peer's: a module that runs in its own process. Each side has its own sizes,
because one side needs a second for a size and another an hour. The expected check is computed for
the size of the run.

A new bench needs an entry in `BENCHES` and a module in `bench/ours/`. A new peer needs a module in
`bench/peers/` and a `Side` in each bench that it supports.
"""

from bench import windows, workload
from bench.hub import HUB_FULL, HUB_OURS, HUB_OURS_SMOKE, HUB_SMOKE, expected_hub
from bench.large import expected_large
from bench.nodes import expected_nodes
from bench.outcome import Params
from bench.page import PAGE
from bench.recording import expected_ingest, expected_observe
from bench.savina import sizes
from bench.savina.games import GAMES, expected_savina
from bench.sides import Bench, Requirement, Side, missing, versions
from bench.window_queries import expected_metrics_query

__all__ = [
    "BENCHES",
    "STORES",
    "Bench",
    "Requirement",
    "Side",
    "bench_named",
    "missing",
    "versions",
]


def _module(name: str, distribution: str) -> Requirement:
    return Requirement("module", name, "pip install 'callboard[peers]'", distribution)


RAY = Requirement("module", "ray", "pip install callboard", "ray")
XOSCAR = _module("xoscar", "xoscar")
PYKKA = _module("pykka", "pykka")
DASK = _module("distributed", "distributed")
LANGGRAPH = _module("langgraph", "langgraph")
LANGGRAPH_SQLITE = _module("aiosqlite", "langgraph-checkpoint-sqlite")
DBOS = _module("dbos", "dbos")
EVENTSOURCING = _module("eventsourcing", "eventsourcing")
BYTEWAX = _module("bytewax", "bytewax")
AUTOGEN = _module("autogen_core", "autogen-core")
DUCKDB = _module("duckdb", "duckdb")
POLARS = _module("polars", "polars")
PROMETHEUS_CLIENT = _module("prometheus_client", "prometheus-client")
WEBSOCKETS = _module("websockets", "websockets")
PICOWS = _module("picows", "picows")
DDSKETCH = _module("ddsketch", "ddsketch")
MONARCH = Requirement("module", "monarch", "pip install 'callboard[monarch]'", "torchmonarch")
ERLC = Requirement("program", "erlc", "install Erlang/OTP (on Debian: erlang-base)")
ERL = Requirement("program", "erl", "install Erlang/OTP (on Debian: erlang-base)")


def _ours(full: Params, smoke: Params) -> Side:
    return Side("callboard", "bench.ours", full, smoke, (RAY,), always=True)


def _peer(name: str, requirement: Requirement, full: Params, smoke: Params) -> Side:
    return Side(name, f"bench.peers.{name}", full, smoke, (requirement,))


def _ray(name: str, full: Params, smoke: Params) -> Side:
    return Side(name, f"bench.peers.{name}", full, smoke, (RAY,), always=True)


def _erlang(full: Params, smoke: Params) -> Side:
    return Side("erlang", "bench.peers.erlang", full, smoke, (ERL, ERLC))


def _asks(messages: int, round_trips: int, warm_up: int) -> dict[str, int]:
    return {"messages": messages, "round_trips": round_trips, "warm_up": warm_up}


ASKS_SMOKE = _asks(messages=200, round_trips=20, warm_up=10)


def _tells(messages: int) -> dict[str, int]:
    return {"messages": messages, "warm_up": messages // 20}


TELLS_SMOKE = _tells(1_000)

ASK = Bench(
    name="ask",
    question="How fast does one process ask another and get a typed answer?",
    ours=_ours(_asks(200_000, 2_000, 5_000), ASKS_SMOKE),
    peers=(
        _ray("ray_async_actor", _asks(4_000, 2_000, 500), ASKS_SMOKE),
        _ray("ray_sync_actor", _asks(4_000, 2_000, 500), ASKS_SMOKE),
        _ray("ray_tasks", _asks(3_000, 500, 100), ASKS_SMOKE),
        _peer("xoscar", XOSCAR, _asks(40_000, 2_000, 2_000), ASKS_SMOKE),
        _peer("dask", DASK, _asks(5_000, 1_000, 200), ASKS_SMOKE),
        _peer("monarch", MONARCH, _asks(10_000, 2_000, 500), ASKS_SMOKE),
    ),
    expected_check=workload.expected_ask,
)

LARGE_SMOKE = {"megabytes": 1, "milliseconds": 100, "largest_bytes": 1 << 20, "warm_up": 4}


def _large(megabytes: int) -> dict[str, int]:
    return {
        "megabytes": megabytes,
        "milliseconds": 3_000,
        "largest_bytes": 64_000_000,
        "warm_up": 200,
    }


LARGE = Bench(
    name="large",
    question="How many MB a second do large values make, and do small messages wait for them?",
    ours=_ours(_large(600), LARGE_SMOKE),
    peers=(_ray("ray_async_actor", _large(200), LARGE_SMOKE),),
    expected_check=expected_large,
)

TELL_LOCAL = Bench(
    name="tell_local",
    question="How many messages a second does one actor take from another in its process?",
    ours=_ours(_tells(1_000_000), TELLS_SMOKE),
    peers=(
        _ray("ray_async_actor", _tells(10_000), TELLS_SMOKE),
        _peer("pykka", PYKKA, _tells(200_000), TELLS_SMOKE),
        _peer("xoscar", XOSCAR, _tells(50_000), TELLS_SMOKE),
        _peer("autogen", AUTOGEN, _tells(20_000), TELLS_SMOKE),
        _erlang(_tells(1_000_000), TELLS_SMOKE),
    ),
    expected_check=workload.expected_tell_local,
)

SPAWN = Bench(
    name="spawn",
    question="How many actors a second can be spawned, and how much memory does one need?",
    ours=_ours({"actors": 100_000}, {"actors": 500}),
    peers=(
        _ray("ray_async_actor", {"actors": 8}, {"actors": 2}),
        _peer("pykka", PYKKA, {"actors": 2_000}, {"actors": 50}),
        _peer("xoscar", XOSCAR, {"actors": 20_000}, {"actors": 50}),
        _peer("autogen", AUTOGEN, {"actors": 20_000}, {"actors": 50}),
        _peer("monarch", MONARCH, {"actors": 200}, {"actors": 5}),
        _erlang({"actors": 200_000}, {"actors": 500}),
    ),
    expected_check=workload.expected_spawn,
)

# As wide for LangGraph as for us, because LangGraph slows down with the width.
FANOUT = Bench(
    name="fanout",
    question="How many sub-tasks a second, scheduled in parallel and merged into one result?",
    ours=_ours({"sub_tasks": 10_000, "warm_up": 1_000}, {"sub_tasks": 200, "warm_up": 10}),
    peers=(
        _ray("ray_tasks", {"sub_tasks": 4_000, "warm_up": 200}, {"sub_tasks": 50, "warm_up": 4}),
        _ray(
            "ray_async_actor",
            {"sub_tasks": 8_000, "warm_up": 400},
            {"sub_tasks": 50, "warm_up": 4},
        ),
        _peer(
            "langgraph",
            LANGGRAPH,
            {"sub_tasks": 10_000, "warm_up": 200},
            {"sub_tasks": 50, "warm_up": 4},
        ),
        _peer("dask", DASK, {"sub_tasks": 4_000, "warm_up": 200}, {"sub_tasks": 50, "warm_up": 4}),
        _peer(
            "autogen",
            AUTOGEN,
            {"sub_tasks": 10_000, "warm_up": 200},
            {"sub_tasks": 50, "warm_up": 4},
        ),
    ),
    expected_check=workload.expected_fanout,
)

FAILOVER = Bench(
    name="failover",
    question="After kill -9 of a process with actors: how long until all of them answer again?",
    ours=_ours({"actors": 10_000, "rounds": 20}, {"actors": 100, "rounds": 1}),
    # A Ray process has one actor, so it can lose only one.
    peers=(_ray("ray_async_actor", {"actors": 1, "rounds": 20}, {"actors": 1, "rounds": 1}),),
    expected_check=workload.expected_failover,
    timeout_s=300.0,
)

SUPERVISE = Bench(
    name="supervise",
    question="How long does a restart take, and the notice of a death on another host?",
    ours=_ours(
        {"warm_up": 100, "restarts": 2_000, "notices": 100, "kills": 20},
        {"warm_up": 1, "restarts": 5, "notices": 2, "kills": 1},
    ),
    peers=(
        _ray("ray_async_actor", {"restarts": 20}, {"restarts": 1}),
        _erlang({"warm_up": 100, "restarts": 2_000}, {"warm_up": 1, "restarts": 5}),
    ),
    expected_check=workload.expected_supervise,
    timeout_s=300.0,
)

KILLS = Bench(
    name="kills",
    question="What do repeated kills of random hosts cost, under a steady load?",
    ours=_ours(
        {
            "hosts": 4,
            "standbys": 2,
            "actors": 400,
            "asks_per_s": 2_000,
            "kills": 100,
            "interval_ms": 1_000,
            "seed": 1,
        },
        {
            "hosts": 2,
            "standbys": 1,
            "actors": 20,
            "asks_per_s": 500,
            "kills": 2,
            "interval_ms": 500,
            "seed": 1,
        },
    ),
    peers=(
        Side(
            "ray_async_actor",
            "bench.peers.ray_kills",
            {"actors": 4, "asks_per_s": 500, "kills": 100, "interval_ms": 1_000, "seed": 1},
            {"actors": 2, "asks_per_s": 100, "kills": 2, "interval_ms": 1_000, "seed": 1},
            (RAY,),
        ),
    ),
    expected_check=workload.expected_kills,
    timeout_s=420.0,
)

FLAP = Bench(
    name="flap",
    question="While many actors flap: how fast do their supervisor and its healthy child answer?",
    ours=_ours({"actors": 1_000, "seconds": 20}, {"actors": 50, "seconds": 1}),
    peers=(),
    expected_check=workload.expected_flap,
)

MILLION = Bench(
    name="million",
    question="A million actors in one system: how fast, how large, and does each answer?",
    ours=_ours(
        {"actors": 1_000_000, "hosts": 4, "top_level": 1},
        {"actors": 2_000, "hosts": 2, "top_level": 0},
    ),
    peers=(_erlang({"actors": 1_000_000}, {"actors": 2_000}),),
    expected_check=workload.expected_million,
    timeout_s=900.0,
)

API = Bench(
    name="api",
    question="How fast does the HTTP API list a million actors, and how large are its answers?",
    ours=_ours(
        {"actors": 1_000_000, "hosts": 4, "turns": 200},
        {"actors": 2_000, "hosts": 2, "turns": 5},
    ),
    peers=(),
    expected_check=workload.expected_api,
    timeout_s=900.0,
)

SAVINA = Bench(
    name="savina",
    question="The Savina actor benchmarks: how much a second, within one process?",
    ours=_ours(sizes.FULL, sizes.SMOKE),
    peers=(
        Side("erlang", "bench.peers.savina.erlang", sizes.FULL, sizes.SMOKE, (ERL, ERLC)),
        Side("pykka", "bench.peers.savina.pykka", sizes.PYKKA, sizes.SMOKE, (PYKKA,)),
        Side("xoscar", "bench.peers.savina.xoscar", sizes.XOSCAR, sizes.SMOKE, (XOSCAR,)),
        Side(
            "ray",
            "bench.peers.savina.ray",
            sizes.RAY,
            sizes.RAY_SMOKE,
            (RAY,),
            cannot=sizes.RAY_CANNOT,
        ),
    ),
    expected_check=expected_savina,
    timeout_s=900.0,
    parts=tuple(game.name for game in GAMES),
)

OBSERVE = Bench(
    name="observe",
    question="What does it cost to record one measurement where it is made?",
    ours=_ours(
        {"calls": 1_000_000, "columns": 200, "asks": 10_000},
        {"calls": 1_000, "columns": 2, "asks": 50},
    ),
    peers=(_peer("prometheus", PROMETHEUS_CLIENT, {"calls": 1_000_000}, {"calls": 1_000}),),
    expected_check=expected_observe,
)

HUB = Bench(
    name="hub",
    question="How many events a second get to clients in another process, and what do they cost?",
    ours=_ours(HUB_OURS, HUB_OURS_SMOKE),
    peers=(
        _peer("websockets", WEBSOCKETS, HUB_FULL, HUB_SMOKE),
        _peer("picows", PICOWS, HUB_FULL, HUB_SMOKE),
    ),
    expected_check=expected_hub,
)

INGEST = Bench(
    name="ingest",
    question="How many points a second get from agents on hosts into durable windows?",
    ours=_ours(
        {
            "points": 20_000_000,
            "warm_up": 200_000,
            "hosts": 2,
            "shards": "1-2-4",
            "simulated": "1-4-16-64",
            "seconds": 5,
        },
        {
            "points": 20_000,
            "warm_up": 2_000,
            "hosts": 1,
            "shards": "2",
            "simulated": "2",
            "seconds": 2,
        },
    ),
    peers=(
        Side(
            "bytewax",
            "bench.peers.bytewax_windows",
            {"points": 400_000, "warm_up": 0, "hosts": 1},
            {"points": 5_000, "warm_up": 0, "hosts": 1},
            (_module("bytewax", "bytewax"),),
        ),
    ),
    expected_check=expected_ingest,
    timeout_s=300.0,
)

STORES = ("sqlite", "postgres")

STATE = Bench(
    name="state",
    question="How fast are many states read, from the cache and the primary store, and stored?",
    ours=_ours({"states": 10_000, "alone": 200}, {"states": 200, "alone": 5}),
    peers=(),
    expected_check=workload.expected_state,
    stores=STORES,
)

TIERS = Bench(
    name="tiers",
    question="How small are metric windows in segments, and how fast are they moved and read?",
    ours=_ours(
        {
            "series": 250,
            "windows": 60,
            "moved_series": 100,
            "queries": 50,
            "kept_series": 100,
            "kept_s": 12 * 3_600,
        },
        {
            "series": 4,
            "windows": 10,
            "moved_series": 3,
            "queries": 3,
            "kept_series": 8,
            "kept_s": 1_800,
        },
    ),
    peers=(),
    expected_check=workload.expected_tiers,
)

DURABLE = Bench(
    name="durable",
    question="What does it cost to have every step of an execution on disk?",
    ours=_ours({"sub_tasks": 100_000, "warm_up": 1_000}, {"sub_tasks": 200, "warm_up": 10}),
    peers=(
        Side(
            "langgraph",
            "bench.peers.langgraph",
            {"sub_tasks": 4_000, "warm_up": 100},
            {"sub_tasks": 50, "warm_up": 4},
            (LANGGRAPH, LANGGRAPH_SQLITE),
        ),
        _peer("dbos", DBOS, {"sub_tasks": 2_000, "warm_up": 100}, {"sub_tasks": 50, "warm_up": 4}),
    ),
    expected_check=workload.expected_fanout,
    timeout_s=600.0,
    stores=STORES,
)

RESUME = Bench(
    name="resume",
    question="How long does it take to resume an execution that was almost finished?",
    ours=_ours({"sub_tasks": 100_000}, {"sub_tasks": 200}),
    peers=(),
    expected_check=workload.expected_fanout,
    timeout_s=600.0,
    stores=STORES,
)

APPEND = Bench(
    name="append",
    question="How long until an event is on disk, and how many can be written in a second?",
    ours=_ours(
        {
            "warm_up": 1_600,
            "alone": 2_000,
            "one_at_a_time_events": 16_000,
            "events": 800_000,
            "batched_events": 800_000,
        },
        {
            "warm_up": 16,
            "alone": 10,
            "one_at_a_time_events": 32,
            "events": 320,
            "batched_events": 320,
        },
    ),
    peers=(
        _peer(
            "eventsourcing",
            EVENTSOURCING,
            {
                "warm_up": 1_600,
                "alone": 2_000,
                "one_at_a_time_events": 4_000,
                "batched_events": 320_000,
            },
            {"warm_up": 16, "alone": 10, "one_at_a_time_events": 32, "batched_events": 320},
        ),
    ),
    expected_check=workload.expected_append,
    stores=STORES,
)

PROJECT = Bench(
    name="project",
    question="How many events a second are applied to a read model, each exactly once?",
    ours=_ours({"events": 300_000, "accounts": 10_000}, {"events": 300, "accounts": 50}),
    peers=(),
    expected_check=workload.expected_project,
    timeout_s=600.0,
    stores=STORES,
)

PIPELINE = Bench(
    name="pipeline",
    question="What does a stage cost for each batch, and how fast do rows get into a table?",
    ours=_ours(
        {"batches": 40_000, "stages": 5, "rows": 200_000, "column_rows": 12_800_000},
        {"batches": 200, "stages": 5, "rows": 300, "column_rows": 1_000},
    ),
    peers=(
        _peer(
            "bytewax",
            BYTEWAX,
            {"batches": 40_000, "stages": 5},
            {"batches": 200, "stages": 5},
        ),
    ),
    expected_check=workload.expected_pipeline,
    timeout_s=600.0,
    stores=STORES,
)

NODES_FULL = {"messages": 100_000, "round_trips": 2_000, "warm_up": 5_000, "sub_tasks": 10_000}
NODES_RAY = {"messages": 4_000, "round_trips": 1_000, "warm_up": 400, "sub_tasks": 4_000}
NODES_SMOKE = {"messages": 200, "round_trips": 20, "warm_up": 10, "sub_tasks": 50}

NODES = Bench(
    name="nodes",
    question="What do two nodes cost against one, and how long does the loss of a node take?",
    ours=_ours(
        {**NODES_FULL, "megabytes": 400, "actors": 1_000, "losses": 10, "root_losses": 10},
        {**NODES_SMOKE, "megabytes": 1, "actors": 20, "losses": 0, "root_losses": 0},
    ),
    peers=(
        _ray(
            "ray_async_actor",
            {**NODES_RAY, "megabytes": 200, "actors": 1, "losses": 10},
            {**NODES_SMOKE, "megabytes": 1, "actors": 1, "losses": 0},
        ),
        _ray("ray_tasks", {**NODES_RAY, "megabytes": 100}, {**NODES_SMOKE, "megabytes": 1}),
    ),
    expected_check=expected_nodes,
    # A loss takes up to a minute, with the start of a node and of a system.
    timeout_s=3_000.0,
    needs_nodes=True,
    # The nodes of a cluster that a side starts share no token.
    environment={"RAY_AUTH_MODE": "disabled"},
)

# No peer: nothing else simulates its control plane.
SCALE = Bench(
    name="scale",
    question="What does the control plane cost with 1,000 hosts, and what grows faster than they?",
    ours=_ours(
        {"hosts_1": 10, "hosts_2": 100, "hosts_3": 300, "hosts_4": 1_000},
        {"hosts_1": 2, "hosts_2": 6},
    ),
    peers=(),
    expected_check=workload.expected_scale,
    timeout_s=3_600.0,
)

WINDOWS = Bench(
    name="windows",
    question="How many points a second into windows with quantiles, on one core, and how exact?",
    ours=_ours(windows.FULL, windows.SMOKE),
    peers=(
        _peer("duckdb", DUCKDB, windows.COLUMNS, windows.PEERS_SMOKE),
        _peer("polars", POLARS, windows.COLUMNS, windows.PEERS_SMOKE),
        _peer("prometheus_client", PROMETHEUS_CLIENT, windows.SINGLE, windows.PEERS_SMOKE),
        _peer("ddsketch", DDSKETCH, windows.SINGLE, windows.PEERS_SMOKE),
    ),
    expected_check=windows.expected_windows,
    timeout_s=600.0,
    takes_data=True,
)

METRICS_QUERY_SMOKE = {"series": 30, "days": 2, "many": 3, "few": 2}
METRICS_QUERY_FULL = {"series": 1_000, "days": 30, "many": 30, "few": 10}

METRICS_QUERY = Bench(
    name="metrics_query",
    question="How fast are a month of one series, and the top 10 of 1,000 series over a day?",
    ours=_ours(METRICS_QUERY_FULL, METRICS_QUERY_SMOKE),
    peers=(
        Side(
            "duckdb",
            "bench.peers.duckdb_queries",
            METRICS_QUERY_FULL,
            METRICS_QUERY_SMOKE,
            (Requirement("module", "duckdb", "pip install 'callboard[data]'", "duckdb"),),
        ),
    ),
    expected_check=expected_metrics_query,
    timeout_s=300.0,
    stores=STORES,
)

BENCHES: tuple[Bench, ...] = (
    ASK,
    LARGE,
    TELL_LOCAL,
    SPAWN,
    FANOUT,
    FAILOVER,
    SUPERVISE,
    KILLS,
    FLAP,
    MILLION,
    API,
    SAVINA,
    STATE,
    TIERS,
    DURABLE,
    RESUME,
    APPEND,
    PROJECT,
    METRICS_QUERY,
    PIPELINE,
    NODES,
    SCALE,
    WINDOWS,
    OBSERVE,
    INGEST,
    HUB,
    PAGE,
)


def bench_named(name: str) -> Bench:
    """The bench of that name.

    Raises:
        KeyError: if there is none.
    """
    return {bench.name: bench for bench in BENCHES}[name]
