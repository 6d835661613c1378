"""Erlang/OTP: `tell_local` and `spawn`, processes of one Erlang machine.

The source below is compiled into a temporary folder and run; Erlang measures itself with
its monotonic clock and prints plain numbers, from which the check is computed here.
"""

import subprocess
import tempfile
from pathlib import Path

from bench.entry import serve
from bench.outcome import Outcome, Params, check_of, check_of_each

__all__: list[str] = []

SOURCE = r"""
-module(callboard_peer).
-export([tell_local/2, spawn_actors/1]).

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
    io:format("~b ~b ~b~n", [End - Start, Count, Total]),
    halt(0).

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
        end, Pids),
    halt(0).
"""

NS_PER_S = 1e9
SPARE_PROCESSES = 10_000
"""How many more processes than our actors the Erlang machine has room for."""


def _erlang(call: str, *, processes: int = 0) -> list[int]:
    """Compile the source, run `call` in it, and give the whole numbers it printed.

    Raises:
        subprocess.CalledProcessError: if it does not compile, or stops with an error.
    """
    with tempfile.TemporaryDirectory(prefix="erl") as folder:
        source = Path(folder, "callboard_peer.erl")
        source.write_text(SOURCE)
        subprocess.run(["erlc", source.name], cwd=folder, check=True)
        ran = subprocess.run(
            [
                "erl",
                *("-noshell", "+P", str(processes + SPARE_PROCESSES)),
                *("-eval", f"callboard_peer:{call}."),
            ],
            cwd=folder,
            check=True,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
    return [int(word) for word in ran.stdout.split()]


def tell_local(params: Params) -> Outcome:
    """Messages to one process, until it has told its tally."""
    messages = params["messages"]
    elapsed_ns, count, total = _erlang(f"tell_local({messages}, {params['warm_up']})")
    return Outcome(
        {"messages_per_s": messages / (elapsed_ns / NS_PER_S)},
        check_of({"count": count, "total": total}),
    )


def spawn(params: Params) -> Outcome:
    """Processes spawned; their memory as Erlang counts it."""
    actors = params["actors"]
    elapsed_ns, size_bytes, *numbers = _erlang(f"spawn_actors({actors})", processes=actors)
    return Outcome(
        {"actors_per_s": actors / (elapsed_ns / NS_PER_S), "bytes_per_actor": size_bytes / actors},
        check_of_each(numbers),
    )


if __name__ == "__main__":
    serve({"tell_local": tell_local, "spawn": spawn})
