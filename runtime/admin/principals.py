"""The principal of a user of this machine."""

import os
import pwd

from callboard.messages.control.principals import LOCAL, Principal

__all__ = ["local_principal"]


def local_principal(way: str, uid: int | None = None) -> Principal:
    """The principal of a user by number, by default that of this process, with all scopes.

    Only for a user whom the operating system has let in.
    """
    number = os.getuid() if uid is None else uid
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:  # Containers have users without a name.
        name = str(number)
    return LOCAL.model_copy(update={"subject": f"local:{name}", "way": way})
