"""Erlang/OTP: `tell_local`, `spawn`, `million` and `supervise`, on one Erlang machine.

The source below is compiled in a temporary folder and run. Erlang measures with its monotonic clock
and prints plain numbers, from which this module computes the check.
"""

from bench.entry import serve
from bench.outcome import Outcome, Params, check_of, check_of_each
from bench.peers.erlang_machine import run_erlang
from bench.timing import NS_PER_MS, NS_PER_S, median_and_p99

__all__: list[str] = []

SOURCE = r"""
-module(callboard_peer).
-behaviour(gen_server).
-export([tell_local/2, spawn_actors/1, million/1, restarts/2]).
-export([init/1, handle_call/3, handle_cast/2]).

counter(Count, Total) ->
    receive
        {tell, Number, _Text} -> counter(Count + 1, Total + Number);
        {read, From} -> From ! {tally, Count, Total}, counter(0, 0)
    end.

tally(Pid) ->
    Pid ! {read, self()},
    receive {tally, Count, Total} -> {Count, Total} end.

text(Number) -> list_to_binary(io_lib:format("review item ~8..0b", [Number])).

tell_all(_Pid, []) -> ok;
tell_all(Pid, [Message | Rest]) -> Pid ! Message, tell_all(Pid, Rest).

tell_local(Messages, WarmUp) ->
    Pid = spawn(fun() -> counter(0, 0) end),
    tell_all(Pid, [{tell, N, text(N)} || N <- lists:seq(0, WarmUp - 1)]),
    _ = tally(Pid),
    List = [{tell, N, text(N)} || N <- lists:seq(0, Messages - 1)],
    erlang:garbage_collect(),
    Start = erlang:monotonic_time(nanosecond),
    tell_all(Pid, List),
    {Count, Total} = tally(Pid),
    End = erlang:monotonic_time(nanosecond),
    io:format("~b ~b ~b~n", [End - Start, Count, Total]).

actor(Number) ->
    receive {read, From} -> From ! {number, Number}, actor(Number) end.

spawn_actors(Actors) ->
    erlang:garbage_collect(),
    Before = erlang:memory(processes_used),
    Start = erlang:monotonic_time(nanosecond),
    Pids = [spawn(fun() -> actor(N) end) || N <- lists:seq(0, Actors - 1)],
    End = erlang:monotonic_time(nanosecond),
    Bytes = erlang:memory(processes_used) - Before,
    io:format("~b ~b~n", [End - Start, Bytes]),
    lists:foreach(
        fun(Pid) ->
            Pid ! {read, self()},
            receive {number, N} -> io:format("~b~n", [N]) end
        end, Pids).

million(Actors) ->
    erlang:garbage_collect(),
    Before = erlang:memory(processes_used),
    Start = erlang:monotonic_time(nanosecond),
    Pids = [spawn(fun() -> actor(N) end) || N <- lists:seq(0, Actors - 1)],
    Created = erlang:monotonic_time(nanosecond),
    Bytes = erlang:memory(processes_used) - Before,
    lists:foreach(fun(Pid) -> Pid ! {read, self()} end, Pids),
    {Count, Sum} = lists:foldl(
        fun(_, {Count, Sum}) -> receive {number, N} -> {Count + 1, Sum + N} end end, {0, 0}, Pids
    ),
    Answered = erlang:monotonic_time(nanosecond),
    io:format("~b ~b ~b ~b ~b~n", [Created - Start, Answered - Created, Bytes, Count, Sum]).

%% One module is both the supervisor and its child: init/1 distinguishes them.
init(supervisor) ->
    {ok, {#{strategy => one_for_one, intensity => 1000000, period => 1},
        [#{id => child, start => {gen_server, start_link, [{local, child}, ?MODULE, child, []]}}]}};
init(child) -> {ok, fresh}.

handle_call(mark, _From, _State) -> {reply, ok, marked};
handle_call(look, _From, State) -> {reply, State, State}.

handle_cast(break, _State) -> erlang:error(broken).

until_fresh() ->
    case catch gen_server:call(child, look) of
        fresh -> ok;
        _ -> until_fresh()
    end.

restart() ->
    ok = gen_server:call(child, mark),
    Start = erlang:monotonic_time(nanosecond),
    gen_server:cast(child, break),
    until_fresh(),
    erlang:monotonic_time(nanosecond) - Start.

restarts(Count, WarmUp) ->
    logger:set_primary_config(level, none),
    {ok, _} = supervisor:start_link(?MODULE, supervisor),
    _ = [restart() || _ <- lists:seq(1, WarmUp)],
    [io:format("~b~n", [restart()]) || _ <- lists:seq(1, Count)].
"""


def _erlang(call: str, *, processes: int = 0) -> list[int]:
    printed = run_erlang("callboard_peer", SOURCE, f"callboard_peer:{call}", processes=processes)
    return [int(word) for word in printed.split()]


def tell_local(params: Params) -> Outcome:
    """Messages to one process, until it has sent its tally."""
    messages = params["messages"]
    elapsed_ns, count, total = _erlang(f"tell_local({messages}, {params['warm_up']})")
    return Outcome(
        {"messages_per_s": messages / (elapsed_ns / NS_PER_S)},
        check_of({"count": count, "total": total}),
    )


def spawn(params: Params) -> Outcome:
    """Processes spawned, with their memory as Erlang counts it."""
    actors = params["actors"]
    elapsed_ns, size_bytes, *numbers = _erlang(f"spawn_actors({actors})", processes=actors)
    return Outcome(
        {"actors_per_s": actors / (elapsed_ns / NS_PER_S), "bytes_per_actor": size_bytes / actors},
        check_of_each(numbers),
    )


def million(params: Params) -> Outcome:
    """Processes spawned, then each asked for its number."""
    actors = params["actors"]
    created_ns, answered_ns, size_bytes, count, total = _erlang(
        f"million({actors})", processes=actors
    )
    return Outcome(
        {
            "created_per_s": actors / (created_ns / NS_PER_S),
            "answered_per_s": actors / (answered_ns / NS_PER_S),
            "bytes_per_actor": size_bytes / actors,
        },
        check_of({"actors": count, "sum": total}),
        ("one machine; the asks are pipelined, all at once",),
    )


def supervise(params: Params) -> Outcome:
    """A gen_server that fails, until its replacement answers."""
    restarts = params["restarts"]
    elapsed_ns = _erlang(f"restarts({restarts}, {params['warm_up']})")
    return Outcome(
        median_and_p99("restart_ms", [value / NS_PER_MS for value in elapsed_ns]),
        check_of({"restarts": len(elapsed_ns)}),
        ("a call to the dead process fails and is repeated at once",),
    )


if __name__ == "__main__":
    serve({"tell_local": tell_local, "spawn": spawn, "million": million, "supervise": supervise})
