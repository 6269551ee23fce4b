"""agent.properties: read by Java's rules, changed without touching what is not ours.

The KVM agent's file carries what the operator wrote (`host`, `zone`, `guid` ...) and what the agent
learned (`HypervResource.id`, the server list, the passphrase).  A change replaces the lines of one
key and leaves comments, order, unknown keys and unusual spellings alone.

Source: java.util.Properties.load (escapes, continued lines, ISO-8859-1); CloudStack's
com.cloud.agent.dao.impl.PropertiesStorage.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_ESCAPES: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_BLANKS: Final = " \t\f"
_MOST_BYTES: Final = 1 << 20


class PropertiesUnreadable(Exception):
    """The file cannot be read; the text names it and says why."""


@dataclass(slots=True)
class Properties:
    """The lines of a properties file."""

    lines: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, text: str) -> Properties:
        """Read the text of a file."""
        return cls(re.split(r"\r\n|\n|\r", text.removesuffix("\n")) if text else [])

    def get(self, key: str) -> str | None:
        """Return a value; None if the key is not there or blank.  The last of several counts."""
        found = None
        for name, value, _ in self._entries():
            if name == key:
                found = value
        return found.strip() or None if found is not None else None

    def names(self) -> tuple[str, ...]:
        """Return all keys, in order."""
        return tuple(name for name, _, _ in self._entries())

    def set(self, key: str, value: str) -> bool:
        """Give a key this value, in its place or at the end; False if it had it already."""
        places = [place for name, _, place in self._entries() if name == key]
        if places and self.get(key) == value:
            return False
        line = f"{_escaped(key, blanks=True)}={_escaped(value, blanks=False)}"
        if not places:
            if self.lines and _is_continued(self.lines[-1]):
                self.lines.append("")  # ends a value that would swallow the new line
            self.lines.append(line)
            return True
        for place in reversed(places[:-1]):
            del self.lines[place]
        last = places[-1]
        removed = sum(place.stop - place.start for place in places[:-1])
        self.lines[last.start - removed : last.stop - removed] = [line]
        return True

    def __str__(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)

    def __repr__(self) -> str:
        return f"Properties({len(self.names())} keys)"  # no values: a passphrase is among them

    def _entries(self) -> Iterator[tuple[str, str, slice]]:
        at = 0
        while at < len(self.lines):
            start = at
            logical = self.lines[at].lstrip(_BLANKS)
            at += 1
            if not logical or logical[0] in "#!":
                continue
            while _is_continued(logical) and at < len(self.lines):
                logical = logical[:-1] + self.lines[at].lstrip(_BLANKS)
                at += 1
            if _is_continued(logical):
                logical = logical[:-1]
            name, value = _split(logical)
            yield _unescaped(name), _unescaped(value), slice(start, at)


class PropertiesFile:
    """A properties file on disk; keeps its mode, and is never half-written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> Properties:
        """Read it; an absent file is an empty one.  Raises PropertiesUnreadable."""
        try:
            with self.path.open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
        except FileNotFoundError:
            return Properties()
        except OSError as error:
            raise PropertiesUnreadable(f"{self.path}: {error.strerror}") from error
        if len(content) > _MOST_BYTES:
            raise PropertiesUnreadable(f"{self.path}: more than {_MOST_BYTES} bytes")
        return Properties.parse(content.decode("latin-1"))

    def change(self, values: dict[str, str]) -> bool:
        """Set these keys on the file as it is now; False if nothing changed.  Raises OSError."""
        properties = self.load()
        changed = [properties.set(key, value) for key, value in values.items()]
        if not any(changed):
            return False
        try:
            mode = self.path.stat().st_mode & 0o777
        except FileNotFoundError:
            mode = 0o600
        temporary = self.path.with_name(self.path.name + ".new")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="latin-1", newline="") as file:
            file.write(str(properties))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)
        return True

    def __repr__(self) -> str:
        return f"PropertiesFile({self.path})"


def _is_continued(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _split(logical: str) -> tuple[str, str]:
    at = 0
    while at < len(logical) and logical[at] not in "=:" + _BLANKS:
        at += 2 if logical[at] == "\\" else 1
    name, rest = logical[:at], logical[at:].lstrip(_BLANKS)
    if rest[:1] in ("=", ":"):
        rest = rest[1:].lstrip(_BLANKS)
    return name, rest


def _unescaped(text: str) -> str:
    def plain(match: re.Match[str]) -> str:
        escape = match[1]
        return chr(int(escape[1:], 16)) if len(escape) == 5 else _ESCAPES.get(escape, escape)

    units = _ESCAPE.sub(plain, text)
    # Java's texts are UTF-16: what lies beyond U+FFFF is written as two escapes.
    return units.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _escaped(text: str, *, blanks: bool) -> str:
    made = []
    for index, sign in enumerate(text):
        if sign in "\\=:#!" or (sign == " " and (blanks or index == 0)):
            made.append("\\" + sign)
        elif sign in "\t\n\r\f":
            made.append("\\" + "tnrf"["\t\n\r\f".index(sign)])
        elif " " <= sign <= "~":
            made.append(sign)
        else:
            units = sign.encode("utf-16-be")
            made += [f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)]
    return "".join(made)
