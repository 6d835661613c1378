"""The meter of a host without one: it drops and counts."""

from callboard.actors.kernel.inspection.meter import NoMeter


async def test_nothing_is_recorded_and_everything_is_counted() -> None:
    meter = NoMeter()
    meter.count("a")
    meter.observe("b", 1.0)
    meter.gauge("c", 1.0, tag="x")
    meter.bind_counter("a").add()
    meter.bind_histogram("b").observe(1.0)
    meter.bind_gauge("c").set(1.0)
    assert meter.record(meter.bind_gauge("c"), [1, 2], [1.0, 2.0]) == 0
    assert meter.statistics() == {"dropped_off": 8.0}
    assert not meter.is_on
    assert await meter.until_room(0.0)
