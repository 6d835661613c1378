"""The core compared with a simple model, and with any interleaving of answers.

`ModelMachine` answers at once and predicts each trace from the rules of OTP's manual.
`InterleavingMachine` delays answers and delivers them in any order. It predicts no trace, but
the invariants always hold, and after all answers every child that should run does.
"""

import contextlib
from collections.abc import Iterator

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.control.spec import (
    AutoShutdown,
    Backoff,
    ChildId,
    ChildSpec,
    Intensity,
    Restart,
    Strategy,
    SupervisorSpec,
)
from callboard.messages.core.errors import CallboardError
from callboard.supervisors.tree import ChildState
from callboard.supervisors.views import SupervisorState
from tests.thoroughness import examples

from .world import CRASH, EXITS, World, reachable_states

IDS = st.integers(0, 7)
REACHABLE = reachable_states()
STEPS = settings(max_examples=examples(150), stateful_step_count=40)


class ModelMachine(RuleBasedStateMachine):
    """No restart fails, no answer waits: every trace follows the manual.

    From the manual: children start in order, and when one does not, those before it are
    stopped in reverse and the supervisor does not start; a significant child that ends by
    itself, and is not restarted, ends its supervisor (any_significant), or does so once it
    was the last one up (all_significant); one that the supervisor stops never does.
    """

    world: World
    strategy: Strategy
    auto_shutdown: AutoShutdown
    limit: int
    kinds: dict[ChildId, Restart]
    significant: set[ChildId]
    dynamic: set[ChildId]
    up: dict[ChildId, bool]

    @initialize(
        strategy=st.sampled_from(Strategy),
        auto_shutdown=st.sampled_from(AutoShutdown),
        restarts=st.lists(st.tuples(st.sampled_from(Restart), st.booleans()), max_size=5),
        limit=st.integers(0, 8),
        unstartable=st.one_of(*[st.none()] * 4, st.integers(0, 4)),
    )
    def begin(
        self,
        strategy: Strategy,
        auto_shutdown: AutoShutdown,
        restarts: list[tuple[Restart, bool]],
        limit: int,
        unstartable: int | None,
    ) -> None:
        self.strategy, self.limit, self.auto_shutdown = strategy, limit, auto_shutdown
        self.kinds, self.significant = {}, set()
        specs = [self.declare(child_id, *row) for child_id, row in enumerate(restarts)]
        self.dynamic = set()
        self.up = dict.fromkeys(self.kinds, True)
        # An hour: here the window only counts. Its sliding is tested with the policies.
        spec = SupervisorSpec(strategy, Intensity(limit, 3600.0), Backoff(max_s=0.0), auto_shutdown)
        self.world = World(spec, specs)
        if unstartable is None or unstartable >= len(specs):
            self.world.started()
            return
        self.world.unstartable.add(unstartable)
        self.world.start()
        self.expect(
            *(f"start {child_id}" for child_id in range(unstartable + 1)),
            *(f"stop {child_id}" for child_id in reversed(range(unstartable))),
            "escalate",
        )
        self.expect_ending(ExitReason.START_FAILED, "child_start_failed", unstartable)

    def declare(self, child_id: ChildId, kind: Restart, significant: bool) -> ChildSpec:
        """A spec that the manual allows."""
        self.kinds[child_id] = kind
        if (
            significant
            and kind is not Restart.PERMANENT
            and self.auto_shutdown is not AutoShutdown.NEVER
        ):
            self.significant.add(child_id)
        return ChildSpec(child_id, restart=kind, significant=child_id in self.significant)

    def expect_ending(self, kind: ExitReason, cause: str, child_id: ChildId) -> None:
        assert self.world.ending is not None
        exit_ = self.world.ending.exit
        assert (exit_.kind, exit_.detail["cause"]) == (kind, cause)
        assert exit_.detail["child"] == str(child_id)

    def is_over(self) -> bool:
        return self.world.ending is not None

    def running(self) -> list[ChildId]:
        return [child_id for child_id, is_up in self.up.items() if is_up]

    def expect(self, *steps: str) -> None:
        assert self.world.taken() == list(steps)
        if not self.is_over():
            assert self.world.order() == list(self.up)
            assert set(self.world.running) == set(self.running())

    def forget(self, child_id: ChildId) -> None:
        del self.up[child_id], self.kinds[child_id]
        self.dynamic.discard(child_id)
        self.significant.discard(child_id)

    @precondition(lambda self: not self.is_over())
    @rule(
        child_id=IDS,
        kind=st.sampled_from(Restart),
        significant=st.booleans(),
        starts=st.sampled_from([True, True, False]),
    )
    def add(self, child_id: int, kind: Restart, significant: bool, starts: bool) -> None:
        if child_id in self.up:
            return
        spec = self.declare(child_id, kind, significant)
        self.up[child_id] = True
        self.dynamic.add(child_id)
        with self.startable(child_id, starts=starts):
            self.world.perform(self.world.core.add_child(spec, self.world.now))
        if starts:
            self.expect(f"start {child_id}")
        else:
            self.forget(child_id)
            self.expect(f"start {child_id}", f"gone {child_id}")

    @contextlib.contextmanager
    def startable(self, child_id: ChildId, *, starts: bool) -> Iterator[None]:
        if not starts:
            self.world.unstartable.add(child_id)
        yield
        self.world.unstartable.discard(child_id)

    @precondition(lambda self: not self.is_over())
    @rule(child_id=IDS, exit_=st.sampled_from(list(EXITS.values())))
    def exits(self, child_id: int, exit_: Exit) -> None:
        if not self.up.get(child_id):
            return
        kind = self.kinds[child_id]
        self.world.exits(child_id, exit_)
        if kind is Restart.TEMPORARY or (kind is Restart.TRANSIENT and not exit_.is_abnormal):
            counts = child_id in self.significant
            steps: list[str] = []
            if kind is Restart.TEMPORARY or child_id in self.dynamic:
                self.forget(child_id)
                steps.append(f"gone {child_id}")
            else:
                self.up[child_id] = False
            if counts and self.shuts_down():
                steps += [f"stop {other}" for other in reversed(self.running())]
                self.expect(*steps, "stopped")
                self.expect_ending(ExitReason.SHUTDOWN, "auto_shutdown", child_id)
            else:
                self.expect(*steps)
            return
        self.up[child_id] = False
        self.limit -= 1
        if self.limit < 0:
            self.expect(*(f"stop {other}" for other in reversed(self.running())), "escalate")
            self.expect_ending(ExitReason.SHUTDOWN, "restart_intensity_exceeded", child_id)
            return
        self.expect_restart(child_id)

    def shuts_down(self) -> bool:
        if self.auto_shutdown is AutoShutdown.ANY_SIGNIFICANT:
            return True
        return not any(self.up[child_id] for child_id in self.significant)

    def expect_restart(self, child_id: ChildId) -> None:
        order = list(self.up)
        group = {
            Strategy.ONE_FOR_ONE: [child_id],
            Strategy.ONE_FOR_ALL: order,
            Strategy.REST_FOR_ONE: order[order.index(child_id) :],
        }[self.strategy]
        steps = []
        for member in reversed(group):
            if self.up[member]:
                steps.append(f"stop {member}")
                if self.kinds[member] is Restart.TEMPORARY:
                    steps.append(f"gone {member}")
                    self.forget(member)
        for member in group:
            if member in self.up:
                steps.append(f"start {member}")
                self.up[member] = True
        self.expect(*steps)

    @precondition(lambda self: not self.is_over())
    @rule(child_id=IDS)
    def terminate(self, child_id: int) -> None:
        if child_id in self.up:
            steps = [f"stop {child_id}"] if self.up[child_id] else []
            self.up[child_id] = False
            if self.kinds[child_id] is Restart.TEMPORARY:
                self.forget(child_id)
                steps.append(f"gone {child_id}")
            self.world.perform(self.world.core.terminate_child(child_id, self.world.now))
            self.expect(*steps)

    @precondition(lambda self: not self.is_over())
    @rule(child_id=IDS)
    def remove(self, child_id: int) -> None:
        if child_id in self.up:
            steps = [f"stop {child_id}"] if self.up[child_id] else []
            self.forget(child_id)
            self.world.perform(self.world.core.remove_child(child_id, self.world.now))
            self.expect(*steps, f"gone {child_id}")

    @precondition(lambda self: not self.is_over())
    @rule(child_id=IDS, starts=st.booleans())
    def restart_by_hand(self, child_id: int, starts: bool) -> None:
        if self.up.get(child_id) is False:
            with self.startable(child_id, starts=starts):
                self.world.perform(self.world.core.restart_child(child_id, self.world.now))
            self.up[child_id] = starts
            self.expect(f"start {child_id}")

    @precondition(lambda self: not self.is_over())
    @rule(rarely=st.integers(0, 9))
    def stop(self, rarely: int) -> None:
        if rarely == 0:
            self.world.perform(self.world.core.stop(self.world.now))
            self.expect(*(f"stop {child_id}" for child_id in reversed(self.running())), "stopped")

    @precondition(lambda self: self.is_over())
    @rule(child_id=IDS, incarnation=st.integers(1, 30))
    def receives_late_reports(self, child_id: int, incarnation: int) -> None:
        core, now = self.world.core, self.world.now
        assert core.child_started(child_id, incarnation, now) == ()
        assert core.child_exited(child_id, incarnation, CRASH, now) == ()
        assert core.timer_fired(child_id, incarnation, now) == ()
        assert core.stop(now) == ()


class InterleavingMachine(RuleBasedStateMachine):
    """Answers come late and in any order, starts fail, timers wait, requests interfere."""

    world: World
    wanted: dict[ChildId, ChildSpec]

    @initialize(
        strategy=st.sampled_from(Strategy),
        auto_shutdown=st.sampled_from(AutoShutdown),
        intensity=st.sampled_from([Intensity(0, 1.0), Intensity(2, 1.0), Intensity(1000, 1.0)]),
        backoff=st.sampled_from([Backoff(max_s=0.0), Backoff(), Backoff(min_s=1.0)]),
        children=st.lists(st.tuples(st.sampled_from(Restart), st.booleans()), max_size=5),
    )
    def begin(
        self,
        strategy: Strategy,
        auto_shutdown: AutoShutdown,
        intensity: Intensity,
        backoff: Backoff,
        children: list[tuple[Restart, bool]],
    ) -> None:
        self.auto_shutdown = auto_shutdown
        spec = SupervisorSpec(strategy, intensity, backoff, auto_shutdown)
        specs = [self.spec_of(n, *options) for n, options in enumerate(children)]
        self.wanted = {child.id: child for child in specs if child.restart is Restart.PERMANENT}
        self.world = World(spec, specs, answers=False).start()
        self.states = self.world.states()

    def spec_of(self, child_id: int, kind: Restart, significant: bool) -> ChildSpec:
        significant &= kind is not Restart.PERMANENT and self.auto_shutdown is not (
            AutoShutdown.NEVER
        )
        return ChildSpec(child_id, restart=kind, significant=significant)

    def after(self) -> None:
        """Every change of state was along the table's edges."""
        before, self.states = self.states, self.world.states()
        for child_id, state in self.states.items():
            # An id that was forgotten and given again is another child.
            if child_id in before and child_id not in self.world.gone:
                assert state in REACHABLE[before[child_id]]
        self.world.gone.clear()
        at_rest = self.world.core.statistics()
        assert at_rest.running == sum(s is ChildState.RUNNING for s in self.states.values())

    def pick(self, from_: dict[ChildId, int], index: int) -> ChildId | None:
        return list(from_)[index % len(from_)] if from_ else None

    @rule(index=IDS)
    def starts(self, index: int) -> None:
        if (child_id := self.pick(self.world.starting, index)) is not None:
            self.world.answer_start(child_id)
            self.after()

    @rule(index=IDS)
    def fails_to_start(self, index: int) -> None:
        if (child_id := self.pick(self.world.starting, index)) is not None:
            view = self.world.core.child(child_id)
            self.world.answer_failed_start(child_id)
            if child_id not in self.world.core or (
                view.restarts == 0 and self.world.states()[child_id] is ChildState.DOWN
            ):
                # A first start, or one by hand: not tried again.
                self.wanted.pop(child_id, None)
            self.after()

    @rule(index=IDS, exit_=st.sampled_from(list(EXITS.values())))
    def exits(self, index: int, exit_: Exit) -> None:
        if (child_id := self.pick(self.world.running, index)) is not None:
            self.world.exits(child_id, exit_)
            self.after()

    @rule(index=IDS)
    def stops(self, index: int) -> None:
        if (child_id := self.pick(self.world.stopping, index)) is not None:
            self.world.answer_stop(child_id)
            self.after()

    @rule()
    def fires(self) -> None:
        if self.world.timers:
            self.world.fire()
            self.after()

    @rule(elapsed_s=st.floats(0, 3))
    def waits(self, elapsed_s: float) -> None:
        self.world.now += elapsed_s

    @rule(child_id=IDS, kind=st.sampled_from(Restart), significant=st.booleans())
    def adds(self, child_id: int, kind: Restart, significant: bool) -> None:
        spec = self.spec_of(child_id, kind, significant)
        try:
            self.world.perform(self.world.core.add_child(spec, self.world.now))
        except CallboardError:
            return
        if kind is Restart.PERMANENT:
            self.wanted[child_id] = spec
        self.after()

    @rule(child_ids=st.lists(IDS, min_size=1, max_size=3), kind=st.sampled_from(Restart))
    def adds_many(self, child_ids: list[int], kind: Restart) -> None:
        spec = self.spec_of(child_ids[0], kind, significant=False)
        before = self.world.states()
        try:
            self.world.perform(self.world.core.add_children(spec, child_ids, self.world.now))
        except CallboardError:
            assert self.world.states() == before  # All of them, or none.
            return
        if kind is Restart.PERMANENT:
            self.wanted |= dict.fromkeys(child_ids, spec)
        self.after()

    @rule(child_id=IDS, request=st.sampled_from(["terminate", "remove", "restart"]))
    def requests(self, child_id: int, request: str) -> None:
        core = self.world.core
        try:
            effects = getattr(core, f"{request}_child")(child_id, self.world.now)
        except CallboardError:
            return
        # From here on a failed start leaves the child down, so it need not run.
        self.wanted.pop(child_id, None)
        self.world.perform(effects)
        self.after()

    @rule(rarely=st.integers(0, 19))
    def stop(self, rarely: int) -> None:
        if rarely == 0:
            self.world.perform(self.world.core.stop(self.world.now))
            self.after()

    def teardown(self) -> None:
        """After all answers, all successful, the supervisor is at rest and in the right state."""
        if not hasattr(self, "world"):
            return
        world = self.world
        for _ in range(1000):
            if world.stopping:
                world.answer_stop(next(iter(world.stopping)))
            elif world.starting:
                world.answer_start(next(iter(world.starting)))
            elif world.timers:
                world.fire()
            else:
                break
        else:
            raise AssertionError("the supervisor does not come to rest")
        if world.ending is not None:
            assert world.core.state is SupervisorState.STOPPED
            assert len(world.core) == 0
            return
        assert world.core.state is SupervisorState.RUNNING
        assert set(world.states().values()) <= {ChildState.RUNNING, ChildState.DOWN}
        assert set(self.wanted) <= set(world.running)
        world.perform(world.core.stop(world.now))
        stopped: list[ChildId] = []
        while world.stopping:
            assert len(world.stopping) == 1, "one at a time"
            stopped.extend(world.stopping)
            world.answer_stop(stopped[-1], CRASH)
        assert world.ending is not None


TestModel = ModelMachine.TestCase
TestModel.settings = STEPS
TestInterleaving = InterleavingMachine.TestCase
TestInterleaving.settings = STEPS
