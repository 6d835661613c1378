"""The places of keyed actors outlive their root, also those whose key regions have ended."""

from types import SimpleNamespace
from typing import Any

from callboard.messages.control.spawning import Offer, Spawn, SpawnPart
from callboard.runtime.control_plane import adoption, registrar
from callboard.runtime.control_plane.records import BatchRecord, Remembered
from callboard.runtime.control_plane.slots import Batch, Slot, SlotTable

PLACES = "keyed:user:1/1,2/2"


def test_next_root_knows_all_places_though_one_key_region_is_left() -> None:
    table = SlotTable()
    slots = [table.add_slot(name, None) for name in ("host-1", "host-2")]
    part = SpawnPart(entries=b"", count=1)
    request = Spawn(
        parts=(part, part),
        offers=tuple(Offer(part=n, contracts=("add",), routing="keyed:user") for n in range(2)),
    )
    placed: list[tuple[Slot, Batch]] = [(slots[0], Batch(part, 1)), (slots[1], Batch(part, 2))]
    offers = registrar._with_places(request, placed).offers
    assert [offer.routing for offer in offers] == [PLACES, PLACES]

    kept = BatchRecord(2, 2, "token", part, (offers[1].model_copy(update={"part": 0}),), b"\1")
    root: Any = SimpleNamespace(table=table)
    control: Any = None
    unused: Any = None
    adoption._Adoption(root, control, unused, unused, Remembered(), ())._restore(kept)
    assert table.routings == {"add": PLACES}
    assert [str(where) for where in table.offers["add"]] == ["2/2"]
