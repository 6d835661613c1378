"""Tokens to a checked expression. All that is outside the subset is refused by its name."""

import re
from collections.abc import Callable
from typing import Final, TypeVar

from ...series import Matcher, MatcherKind
from .functions import (
    AGGREGATIONS,
    AGGREGATIONS_WITH_PARAMETER,
    FUNCTIONS,
    OUTSIDE,
)
from .lexer import Token, TokenKind, duration_ns, number_of, tokens_of
from .patterns import checked_pattern
from .syntax import (
    Aggregation,
    Binary,
    Call,
    Expression,
    Matching,
    Number,
    Selector,
    Text,
    Unary,
    ValueType,
    refused,
    type_of,
)

__all__ = ["COMPARISONS", "SET_OPERATORS", "parse"]

ItemT = TypeVar("ItemT")
COMPARISONS: Final = ("==", "!=", ">", "<", ">=", "<=")
SET_OPERATORS: Final = ("and", "or", "unless")
LEVELS: Final = {
    "or": 1, "and": 2, "unless": 2, **dict.fromkeys(COMPARISONS, 3), "+": 4, "-": 4,
    "*": 5, "/": 5, "%": 5,
}  # fmt: skip
"""How tightly an operator binds; `^` binds tightest, and is read with its operands."""
NUMBERS: Final = {"inf": float("inf"), "nan": float("nan")}
RESERVED: Final = {
    "and", "atan2", "bool", "by", "group_left", "group_right", "ignoring", "offset", "on", "or",
    "unless", "without",
}  # fmt: skip
PARTS_MAX: Final = 200
"""The parts of an expression."""
DEPTH_MAX: Final = 40
"""How deep parentheses and arguments may lie in each other: far below Python's own limit."""
SUBQUERY_ADVICE: Final = (
    "Write the range at the selector, such as max_over_time(NAME[1h]), or ask for the inner "
    "expression over that time (--from 1h --step 1m)."
)
NO_MATCHING: Final = Matching((), is_on=False)


def parse(text: str) -> Expression:
    """Parse an expression. Raises `QueryRefused` with the place of the first problem."""
    if not isinstance(text, str):
        raise refused(0, f"an expression is a text, not {type(text).__name__}.")
    parser = _Parser(tokens_of(text))
    found = parser.expression(0)
    end = parser.next()
    if end.kind is not TokenKind.END:
        raise refused(end.place, f"{end.shown} is unexpected after the end of an expression.")
    if type_of(found) in {ValueType.RANGE, ValueType.STRING}:
        raise refused(
            0,
            f"the expression gives a {type_of(found).value}.",
            "Put a function such as rate(…) around it.",
        )
    return found


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens: Final = tokens
        self._at = 0
        self._parts = 0
        self._depth = 0

    # --- tokens ---

    def peek(self) -> Token:
        return self._tokens[self._at]

    def next(self) -> Token:
        token = self._tokens[self._at]
        if token.kind is not TokenKind.END:
            self._at += 1
        return token

    def _takes(self, *texts: str) -> bool:
        """Take the next token if it is one of these symbols or words."""
        found = self._word() in texts
        if found:
            self.next()
        return found

    def _word(self) -> str:
        """The next token, if it is a symbol or a name; words are read in any case."""
        token = self.peek()
        if token.kind is TokenKind.SYMBOL:
            return token.text
        return token.text.lower() if token.kind is TokenKind.NAME else ""

    def _expect(self, symbol: str, where: str) -> Token:
        token = self.next()
        if token.kind is not TokenKind.SYMBOL or token.text != symbol:
            raise refused(token.place, f"{symbol!r} is missing {where}, before {token.shown}.")
        return token

    def _list(self, end: str, item: Callable[[], ItemT], where: str) -> list[ItemT]:
        """Items with commas between them, up to a closing symbol."""
        found: list[ItemT] = []
        while not self._takes(end):
            if found:
                self._expect(",", where)
            found.append(item())
        return found

    def _arguments(self, function: str) -> list[Expression]:
        self._expect("(", f"after {function}")
        where = f"between the arguments of {function}"
        return self._list(")", lambda: self.expression(0), where)

    def _tags(self, end: str, item: Callable[[], ItemT], where: str) -> list[ItemT]:
        """Like a list, where a comma may also follow the last item."""
        found: list[ItemT] = []
        while not self._takes(end):
            found.append(item())
            if self._word() != end:
                self._expect(",", where)
        return found

    def _count_part(self, place: int) -> None:
        self._parts += 1
        if self._parts > PARTS_MAX:
            raise refused(place, f"the expression has more than {PARTS_MAX} parts.")

    # --- operators ---

    def expression(self, level_min: int) -> Expression:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise refused(self.peek().place, f"it is nested deeper than {DEPTH_MAX} times.")
        left = self._signed()
        while (level := LEVELS.get(self._word(), 0)) > level_min or self._word() == "atan2":
            operator = self.next()
            if operator.text.lower() == "atan2":
                raise refused(
                    operator.place,
                    "the operator atan2 is outside the subset.",
                    "Combine series by + - * / % and ^.",
                )
            gives_bool, matching = self._modifiers()
            right = self.expression(level)
            left = self._binary(operator, left, right, gives_bool=gives_bool, matching=matching)
        self._depth -= 1
        return left

    def _signed(self) -> Expression:
        token = self.peek()
        if self._takes("-", "+"):
            self._count_part(token.place)
            operand = self._signed()
            if type_of(operand) not in {ValueType.SCALAR, ValueType.VECTOR}:
                raise refused(token.place, f"a {type_of(operand).value} takes no sign.")
            return Unary(token.text == "-", operand, token.place)
        left = self._primary()
        operator = self.peek()
        if self._takes("^"):
            gives_bool, matching = self._modifiers()
            right = self._signed()
            return self._binary(operator, left, right, gives_bool=gives_bool, matching=matching)
        return left

    def _modifiers(self) -> tuple[bool, Matching | None]:
        gives_bool = self._takes("bool")
        matching = None
        if self._word() in {"on", "ignoring"}:
            is_on = self.next().text.lower() == "on"
            matching = Matching(self._tag_names(), is_on)
        if self._word() in {"group_left", "group_right"}:
            token = self.next()
            raise refused(
                token.place,
                f"the modifier {token.text} is outside the subset.",
                "Aggregate the side with more series first, for instance by sum by (TAG) (…).",
            )
        return gives_bool, matching

    def _binary(
        self,
        token: Token,
        left: Expression,
        right: Expression,
        *,
        gives_bool: bool,
        matching: Matching | None,
    ) -> Binary:
        self._count_part(token.place)
        operator = token.text.lower()
        types = [type_of(left), type_of(right)]
        for each in types:
            if each not in {ValueType.SCALAR, ValueType.VECTOR}:
                raise refused(
                    token.place,
                    f"the operator {operator} takes no {each.value}.",
                    "Put a function such as rate(…) around it."
                    if each is ValueType.RANGE
                    else "Write a number.",
                )
        is_comparison = operator in COMPARISONS
        if gives_bool and not is_comparison:
            raise refused(token.place, f"the operator {operator} takes no 'bool'.")
        if is_comparison and not gives_bool and types == [ValueType.SCALAR] * 2:
            raise refused(
                token.place, "numbers are compared without 'bool'.", f"Write {operator} bool."
            )
        if ValueType.SCALAR in types:
            if operator in SET_OPERATORS:
                raise refused(
                    token.place, f"{operator} needs series on both sides.", "Write vector(1) for 1."
                )
            if matching is not None:
                raise refused(token.place, "'on' and 'ignoring' need series on both sides.")
        return Binary(operator, left, right, gives_bool, matching or NO_MATCHING, token.place)

    # --- what operators stand between ---

    def _primary(self) -> Expression:
        token = self.peek()
        self._count_part(token.place)
        if self._takes("("):
            found = self.expression(0)
            self._expect(")", "after an expression in parentheses")
            self._refuse_after(found)
            return found
        match token.kind:
            case TokenKind.NUMBER:
                found = Number(number_of(self.next()), token.place)
            case TokenKind.DURATION:
                found = Number(duration_ns(self.next()) / 1e9, token.place)
            case TokenKind.TEXT:
                found = Text(self.next().text, token.place)
            case TokenKind.NAME:
                found = self._named()
            case TokenKind.SYMBOL if token.text == "{":
                found = self._selector("")
            case _:
                raise refused(token.place, f"an expression is missing before {token.shown}.")
        if not isinstance(found, Selector):
            self._refuse_after(found)
        return found

    def _refuse_after(self, found: Expression) -> None:
        token = self.peek()
        if self._word() == "[":
            raise refused(
                token.place,
                "a range of something that is no selector (a subquery) is outside the subset.",
                SUBQUERY_ADVICE,
            )
        if self._word() in {"offset", "@"}:
            raise refused(
                token.place, f"{self._word()} stands after a {type_of(found).value}.",
                "Write it after a selector: NAME offset 5m.",
            )  # fmt: skip

    def _named(self) -> Expression:
        token = self.next()
        word = token.text.lower()
        opens = self._word()
        if word in NUMBERS and opens not in {"(", "{", "["}:
            return Number(NUMBERS[word], token.place)
        if word in AGGREGATIONS and opens in {"(", "by", "without"}:
            return self._aggregation(word, token.place)
        if opens == "(" and word not in RESERVED:
            return self._call(token)
        if word in RESERVED:
            raise refused(token.place, f"the word {token.text!r} is unexpected here.")
        return self._selector(token.text, token.place)

    def _aggregation(self, operator: str, place: int) -> Expression:
        grouping = self._grouping()
        arguments = self._arguments(operator)
        if grouping is None:
            grouping = self._grouping()
        takes = 2 if operator in AGGREGATIONS_WITH_PARAMETER else 1
        if len(arguments) != takes:
            raise refused(place, f"{operator} takes {takes} arguments, not {len(arguments)}.")
        operand = arguments[-1]
        parameter = arguments[0] if takes == 2 else None
        _check_type(operand, ValueType.VECTOR, operator, place)
        if parameter is not None:
            _check_type(parameter, ValueType.SCALAR, operator, place)
        return Aggregation(
            operator, operand, parameter, grouping or Matching((), is_on=True), place
        )

    def _grouping(self) -> Matching | None:
        if self._word() not in {"by", "without"}:
            return None
        is_by = self.next().text.lower() == "by"
        return Matching(self._tag_names(), is_by)

    def _call(self, token: Token) -> Expression:
        signature = FUNCTIONS.get(token.text)
        if signature is None:
            raise refused(
                token.place,
                f"the function {token.text[:60]} is outside the subset.",
                OUTSIDE.get(token.text, f"It has: {', '.join(sorted(FUNCTIONS))}."),
            )
        arguments = self._arguments(token.text)
        most = len(signature.takes)
        if not most - signature.optional <= len(arguments) <= most:
            counts = f"{most - signature.optional} to {most}" if signature.optional else f"{most}"
            raise refused(
                token.place, f"{token.text} takes {counts} arguments, not {len(arguments)}."
            )
        for argument, expected in zip(arguments, signature.takes, strict=False):
            _check_type(argument, expected, token.text, token.place)
        return Call(token.text, tuple(arguments), signature.gives, token.place)

    # --- selectors ---

    def _selector(self, name: str, place: int | None = None) -> Selector:
        begin = self.peek().place if place is None else place
        matchers = [Matcher("__name__", MatcherKind.IS, name)] if name else []
        if self._takes("{"):
            given = self._tags("}", self._matcher, "between two conditions on tags")
            if name and any(matcher.tag == "__name__" for matcher in given):
                raise refused(begin, "the metric's name is given twice.")
            matchers += given
        if all(_accepts_nothing(matcher) for matcher in matchers):
            raise refused(
                begin, "the selector would select everything.", "Name the metric, or a tag."
            )
        return self._ranged(tuple(matchers), begin)

    def _ranged(self, matchers: tuple[Matcher, ...], begin: int) -> Selector:
        range_ns = offset_ns = 0
        if self._word() == "[":
            place = self.next().place
            range_ns = duration_ns(self.next())
            if self._word().startswith(":"):
                raise refused(
                    place, "a subquery [range:step] is outside the subset.", SUBQUERY_ADVICE
                )
            self._expect("]", "after a range")
            if range_ns <= 0:
                raise refused(place, "a range is longer than 0.")
        if self._takes("offset"):
            is_minus = self._takes("-")
            offset_ns = duration_ns(self.next())
            offset_ns = -offset_ns if is_minus else offset_ns
        if self._word() == "@":
            raise refused(
                self.peek().place,
                "the modifier @ is outside the subset.",
                "Ask for the whole expression at that time (--to TIME), or write offset 1h.",
            )
        if self._word() in {"[", "offset"}:
            raise refused(self.peek().place, f"{self._word()!r} stands before 'offset', and once.")
        return Selector(matchers, range_ns, offset_ns, begin)

    def _matcher(self) -> Matcher:
        tag = self._tag_name()
        token = self.next()
        kinds = {kind.value: kind for kind in MatcherKind}
        if token.kind is not TokenKind.SYMBOL or token.text not in kinds:
            raise refused(token.place, f"one of = != =~ !~ is missing before {token.shown}.")
        value = self.next()
        if value.kind is not TokenKind.TEXT:
            raise refused(
                value.place,
                f"the value of the tag {tag} is missing before {value.shown}.",
                "Write it in quotes.",
            )
        kind = kinds[token.text]
        if kind in {MatcherKind.MATCHES, MatcherKind.MATCHES_NOT}:
            checked_pattern(value.text, value.place)
        return Matcher(tag, kind, value.text)

    def _tag_names(self) -> tuple[str, ...]:
        self._expect("(", "before the names of tags")
        return tuple(self._tags(")", self._tag_name, "between the names of tags"))

    def _tag_name(self) -> str:
        token = self.next()
        if token.kind is not TokenKind.NAME or ":" in token.text:
            raise refused(token.place, f"the name of a tag is missing before {token.shown}.")
        return token.text


def _accepts_nothing(matcher: Matcher) -> bool:
    """Whether a condition holds for a series that does not have the tag."""
    match matcher.kind:
        case MatcherKind.IS:
            return not matcher.value
        case MatcherKind.IS_NOT:
            return bool(matcher.value)
        case MatcherKind.MATCHES:
            return re.fullmatch(matcher.value, "") is not None
        case MatcherKind.MATCHES_NOT:
            return re.fullmatch(matcher.value, "") is None


def _check_type(argument: Expression, expected: ValueType, function: str, place: int) -> None:
    found = type_of(argument)
    if found is expected:
        return
    advice = {
        ValueType.RANGE: "Write a range after the selector: NAME[5m].",
        ValueType.VECTOR: "Write vector(…) around a number."
        if found is ValueType.SCALAR
        else "Put a function such as rate(…) around the range.",
        ValueType.SCALAR: "Write a number, or scalar(…) around one series.",
    }.get(expected, "")
    problem = f"an argument of {function} is of type {found.value}, not {expected.value}."
    raise refused(place, problem, advice)
