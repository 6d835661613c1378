"""What arrives between hosts is equal to what was sent, and of the same types."""

from hypothesis import HealthCheck, given, settings

from callboard.messages.core.contract import Contract
from tests.messages.core.drawn import differences, messages
from tests.messages.core.transfer import Way
from tests.thoroughness import examples


@settings(
    max_examples=examples(1_000),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(message=messages())
def test_messages_of_any_field_types_arrive_as_they_were_sent(message: Contract) -> None:
    arrived = Way().back(message)
    assert not differences(message, arrived)
