"""Notices, dead letters, timers, limits and the codec of messages."""

from callboard.actors.kernel.actor import Overflow
from callboard.actors.kernel.timers import Timer
from callboard.messages.control.dead_letters import DeadLetter
from callboard.messages.control.notices import NameChanged, Offers
from callboard.messages.core.codec import Array, Codec
from callboard.messages.core.contract import ContractRegistry, contract_key
from callboard.messages.core.limits import Limits

__all__ = [
    "Array",
    "Codec",
    "ContractRegistry",
    "DeadLetter",
    "Limits",
    "NameChanged",
    "Offers",
    "Overflow",
    "Timer",
    "contract_key",
]
