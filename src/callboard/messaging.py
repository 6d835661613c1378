"""What travels between actors besides users' own contracts, and how: notices, limits, the codec."""

from callboard.actors.actor import Overflow
from callboard.actors.timers import Timer
from callboard.messages.codec import Array, Codec
from callboard.messages.contract import ContractRegistry, contract_key
from callboard.messages.letters import DeadLetter
from callboard.messages.limits import Limits
from callboard.messages.notices import NameChanged, Offers

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
