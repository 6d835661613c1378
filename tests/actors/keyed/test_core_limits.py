"""The limits of a key region, each at its edge."""

from callboard.actors.keyed.core import (
    Activate,
    Deliver,
    Effect,
    KeyRegionCore,
    KeyRegionLimits,
    Refuse,
    Save,
    State,
)


def region(active: int = 9, held: int = 2, total: int = 4, idle_s: float = 10.0) -> KeyRegionCore:
    return KeyRegionCore(KeyRegionLimits(active, idle_s, held, total))


def running(core: KeyRegionCore, *keys: str, now: float = 0.0) -> None:
    """Keys whose actors run and are idle, the first one for the longest time."""
    for key in keys:
        core.message_arrived(key, "first", now)
        core.activated(key, now)
        core.actor_idle(key, now)


def saves(effects: list[Effect]) -> list[str]:
    return [effect.key for effect in effects if isinstance(effect, Save)]


def test_a_key_that_is_not_active_holds_so_many_messages() -> None:
    core = region()
    seen: list[bool] = []
    for number in range(3):
        seen.append(core.is_full("a"))
        core.message_arrived("a", number, 0.0)
    assert seen == [False, False, True]
    assert core.held == 2
    assert core.message_arrived("a", 9, 0.0) == [Refuse("a", 9)]
    assert core.message_arrived("a", 9, 0.0, may_wait=True) == []
    assert core.held == 3
    assert not core.is_full("b", 1)
    assert core.is_full("b", 2)


def test_all_keys_together_hold_so_many_messages() -> None:
    core = region(held=9)
    for number in range(4):
        assert not core.is_full(f"k{number}")
        core.message_arrived(f"k{number}", number, 0.0)
    assert core.is_full("new")
    assert core.message_arrived("new", 9, 0.0) == [Refuse("new", 9)]
    assert core.state_of("new") is None
    assert core.activated("k0", 0.0) == [Deliver("k0", 0)]
    assert not core.is_full("new")


def test_so_many_keys_are_active_and_the_next_one_waits_for_one_to_leave() -> None:
    core = region(active=2)
    running(core, "a", "b")
    effects = core.message_arrived("c", 1, 1.0)
    assert effects == [Save("a")]
    assert (core.active, core.passivating, core.state_of("c")) == (2, 1, State.WAITING)
    # One leaves already: a second message of the same key, or a tick, asks for no other.
    assert core.message_arrived("c", 2, 1.0) == []
    assert core.tick(1.0) == []
    assert saves(core.message_arrived("d", 1, 1.0)) == ["b"]
    assert core.passivating == 2
    core.save_succeeded("a", 2.0)
    assert core.actor_ended("a", 2.0) == [Activate("c")]
    assert (core.active, core.passivating) == (2, 1)
    core.validate_state()


def test_busy_keys_make_no_room() -> None:
    core = region(active=2)
    running(core, "a", "b")
    core.message_arrived("a", "more", 0.5)
    assert saves(core.message_arrived("c", 1, 1.0)) == ["b"]
    assert saves(core.message_arrived("d", 1, 1.0)) == []
    assert saves(core.actor_idle("a", 2.0)) == ["a"]


def test_a_save_that_fails_or_finds_a_conflict_passivates_no_more() -> None:
    core = region()
    running(core, "a", "b")
    assert saves(core.tick(10.0)) == ["a", "b"]
    assert core.passivating == 2
    core.save_failed("a", 10.0)
    core.save_conflicted("b", 10.0)
    assert core.passivating == 0
    # The next save of each keeps its actor.
    core.actor_idle("b", 10.0)
    assert saves([*core.save("a", 99.0), *core.save("b", 99.0)]) == ["a", "b"]
    assert core.save_succeeded("a", 99.0) == core.save_succeeded("b", 99.0) == []
    assert (core.state_of("a"), core.state_of("b")) == (State.ACTIVE, State.ACTIVE)
    core.validate_state()


def test_idle_keys_leave_after_their_time_and_not_before() -> None:
    core = region()
    running(core, "a")
    running(core, "b", now=5.0)
    assert core.tick(9.9) == []
    assert saves(core.tick(10.0)) == ["a"]
    assert core.tick(14.9) == []
    assert saves(core.tick(15.0)) == ["b"]


def test_short_memory_takes_an_eighth_and_at_least_one() -> None:
    core = region(active=20)
    running(core, "a", "b")
    assert saves(core.tick(1.0, is_over_memory=True)) == ["a"]
    many = region(active=20)
    running(many, *map(str, range(17)))
    assert saves(many.tick(1.0, is_over_memory=True)) == ["0", "1"]
    assert many.tick(1.0) == []


def test_messages_that_an_ending_actor_returns_go_first_to_the_next() -> None:
    core = region(held=9, total=9)
    running(core, "a")
    core.messages_returned("a", [1, 2])
    assert (core.state_of("a"), core.passivating, core.held) == (State.STOPPING, 1, 2)
    core.message_arrived("a", 3, 1.0)
    core.messages_returned("a", [0])
    assert core.passivating == 1
    assert core.actor_ended("a", 2.0) == [Activate("a")]
    assert (core.passivating, core.active) == (0, 1)
    assert core.activated("a", 2.0) == [Deliver("a", item) for item in (0, 1, 2, 3)]
    core.validate_state()
