"""Patterns of WQL's LIKE: `%` any characters, `_` one, `[a-f]` one of a set, `[^a-f]` no such.

Matching ignores letter case and always covers the whole text.  It takes time proportional to
pattern times text at worst, whatever the pattern: no regular expressions, so a client cannot
keep the host busy with `%a%a%a%a%`.

Source: Microsoft, "LIKE Operator (WQL)".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cloudstack_hyperv.emulator.cim.provider import CimFault, WmiCode

Matcher = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class _Set:
    negated: bool
    ranges: tuple[tuple[str, str], ...]

    def holds(self, character: str) -> bool:
        return any(low <= character <= high for low, high in self.ranges) != self.negated


_ANY: Final = None
_Token = str | _Set | None
"""One character as itself, a set, or any run of characters."""

_ONE: Final = _Set(negated=True, ranges=())


def like(pattern: str) -> Matcher:
    """Return a function that says whether a text matches; raises CimFault INVALID_QUERY."""
    tokens = _tokens(pattern.lower())
    runs = sum(token is _ANY for token in tokens)
    if not any(isinstance(token, _Set) for token in tokens):
        literal = "".join(token for token in tokens if isinstance(token, str))
        simple = _simple(tokens, runs, literal)
        if simple is not None:
            return simple
    return lambda text: _matches(tokens, text.lower())


def _simple(tokens: list[_Token], runs: int, literal: str) -> Matcher | None:
    """Return a fast matcher for `x`, `x%`, `%x` and `%x%`; None for other patterns."""
    if runs == 0:
        return lambda text: text.lower() == literal
    if runs == 1 and tokens[-1] is _ANY:
        return lambda text: text.lower().startswith(literal)
    if runs == 1 and tokens[0] is _ANY:
        return lambda text: text.lower().endswith(literal)
    if runs == 2 and tokens[0] is _ANY and tokens[-1] is _ANY:
        return lambda text: literal in text.lower()
    return None


def _tokens(pattern: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "%":
            if not tokens or tokens[-1] is not _ANY:
                tokens.append(_ANY)
        elif character == "_":
            tokens.append(_ONE)
        elif character == "[":
            end = pattern.find("]", position + 1)
            if end < 0:
                raise CimFault(WmiCode.INVALID_QUERY, "invalid query: [ without ] in LIKE")
            tokens.append(_set(pattern[position:end]))
            position = end + 1
        else:
            tokens.append(character)
    return tokens


def _set(body: str) -> _Set:
    negated = body.startswith("^") and len(body) > 1
    rest = body[1:] if negated else body
    ranges: list[tuple[str, str]] = []
    position = 0
    while position < len(rest):
        if rest[position + 1 : position + 2] == "-" and position + 2 < len(rest):
            ranges.append((rest[position], rest[position + 2]))
            position += 3
        else:
            ranges.append((rest[position], rest[position]))
            position += 1
    return _Set(negated, tuple(ranges))


def _matches(tokens: list[_Token], text: str) -> bool:
    """Walk both; on a mismatch go back to the last `%` and let it take one character more."""
    token_at = text_at = 0
    retry_token = retry_text = -1
    while text_at < len(text):
        token = tokens[token_at] if token_at < len(tokens) else ""
        if token is _ANY:
            retry_token, retry_text = token_at + 1, text_at
            token_at += 1
        elif token.holds(text[text_at]) if isinstance(token, _Set) else token == text[text_at]:
            token_at += 1
            text_at += 1
        elif retry_token >= 0:
            retry_text += 1
            token_at, text_at = retry_token, retry_text
        else:
            return False
    return all(token is _ANY for token in tokens[token_at:])
