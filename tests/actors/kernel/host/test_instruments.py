"""Instruments: counts that never decrease, gauges of present sources, and few labels."""

from callboard.actors.kernel.inspection.metric_sources import (
    LABELS_MAX,
    OTHER,
    Instruments,
    Name,
    Reading,
)

EVENTS = Name("events")
LAG = Name("lag")


class Part:
    """A part that counts."""

    def __init__(self, count: float = 0.0, lag: float = 0.0) -> None:
        self.count, self.lag = count, lag
        self.reads = 0

    def read(self) -> Reading:
        self.reads += 1
        return Reading({EVENTS: self.count}, {LAG: self.lag})


def test_counts_are_added_up_and_the_largest_gauge_counts() -> None:
    instruments = Instruments()
    for part in (Part(2, 7), Part(3, 5)):
        instruments.add(part.read)
    assert instruments.read() == Reading({EVENTS: 5}, {LAG: 7})


def test_a_removed_source_stays_counted_and_has_no_gauge() -> None:
    instruments, part = Instruments(), Part(2, 7)
    end = instruments.add(part.read)
    part.count = 4
    end()
    end()
    part.count = 100
    assert instruments.read() == Reading({EVENTS: 4}, {})
    instruments.add(Part(1).read)
    assert instruments.read().counts == {EVENTS: 5}


def test_sources_of_an_actor_end_with_its_incarnation() -> None:
    instruments, part, other = Instruments(), Part(2), Part(10)
    instruments.add_for(7, part.read)
    instruments.add_for(8, other.read)
    instruments.drop(7)
    instruments.drop(7)
    assert part.reads == 1
    assert instruments.read().counts == {EVENTS: 12}
    assert (part.reads, other.reads) == (1, 1)


def test_labels_beyond_the_bound_are_summed_up() -> None:
    instruments = Instruments()
    names = [Name("lag", f"p{number}") for number in range(LABELS_MAX + 2)]
    counts = {Name("events", name.label): 1.0 for name in names}
    instruments.add(lambda: Reading(counts, dict.fromkeys(names, 3.0)))
    read = instruments.read()
    assert len(read.counts) == len(read.gauges) == LABELS_MAX + 1
    assert read.counts[Name("events", OTHER)] == 2.0
    assert read.gauges[Name("lag", OTHER)] == 3.0
    assert read.counts[Name("events", "p0")] == 1.0
    assert instruments.read() == read
