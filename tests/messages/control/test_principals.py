"""What a principal may give to another one: nothing that it does not have itself."""

from fnmatch import fnmatchcase

from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.messages.control.principals import ALL_SCOPES, LOCAL, Principal, Scope
from tests.thoroughness import examples

PATTERNS = st.text(st.sampled_from("ab:*?[]"), max_size=5)


def test_the_user_of_the_machine_may_give_everything() -> None:
    assert LOCAL.lacks(ALL_SCOPES, ("*", "execution:*", "a?"), ("orders",)) == []


def test_what_is_lacking_is_named() -> None:
    ada = Principal(
        subject="ada", way="http", scopes=(Scope.ADMIN,), channels=("logs:*",), publishes=("a",)
    )
    assert ada.lacks((Scope.ADMIN,), ("logs:*", "logs:h/x", "logs:h*"), ("a",)) == []
    assert ada.lacks((Scope.READ, Scope.ADMIN), ("*", "log*"), ("a*", "logs:*")) == [
        "*", "a*", "log*", "logs:*", "read",
    ]  # fmt: skip


@settings(max_examples=examples(500))
@given(own=PATTERNS, wanted=PATTERNS, channel=st.text(st.sampled_from("ab:*?[]"), max_size=6))
def test_a_pattern_that_may_be_given_covers_nothing_more(
    own: str, wanted: str, channel: str
) -> None:
    giver = Principal(subject="ada", way="http", channels=(own,))
    if not giver.lacks((), (wanted,), ()) and fnmatchcase(channel, wanted):
        assert giver.may_subscribe(channel)
