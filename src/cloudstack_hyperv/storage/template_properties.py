"""`template.properties`: what lies beside a template on secondary storage.

CloudStack's secondary storage VM writes and re-reads it (TemplateLocation.java), and the very first
copy of a system VM template names only the folder, so the file says which disk is meant.  The
format is java.util.Properties': Latin-1, `\\uXXXX` for the rest, `:`, `=` and blanks escaped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloudstack_hyperv.storage.host_files import HostFileError
from cloudstack_hyperv.storage.windows_paths import checked_component

FILE_NAME: Final = "template.properties"
LARGEST: Final = 64 * 1024
"""Bytes that such a file may have."""

_ESCAPE: Final = re.compile(r"\\u([0-9A-Fa-f]{4})|\\(.)", re.DOTALL)
_CONTROL: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_LINE: Final = re.compile(r"(?P<key>(?:[^\\:=\s]|\\.)*)\s*[:=]?\s*(?P<value>.*)", re.DOTALL)


def parse_properties(data: bytes) -> dict[str, str]:
    """Read a properties file; the last of several equal keys wins, as in Java."""
    found: dict[str, str] = {}
    for line in _logical_lines(data.decode("latin-1")):
        match = _LINE.match(line)
        if match:
            found[_unescaped(match["key"])] = _unescaped(match["value"])
    return found


def render_properties(values: Mapping[str, str]) -> bytes:
    """Write a properties file, keys in the given order."""
    lines = [f"{_escaped(key, blanks=True)}={_escaped(value)}\n" for key, value in values.items()]
    return "".join(lines).encode("latin-1")


@dataclass(frozen=True, slots=True)
class TemplateProperties:
    """What we write for a template made of a volume.  Sizes in bytes."""

    template_id: int
    file: str
    unique_name: str
    disk_format: str
    """"VHDX" or "VHD"."""
    virtual_size: int
    file_size: int

    def render(self) -> bytes:
        """Return the file's content."""
        kind = self.disk_format.lower()
        return render_properties(
            {
                "uniquename": self.unique_name,
                "filename": self.file,
                "id": str(self.template_id),
                "public": "false",
                "virtualsize": str(self.virtual_size),
                "size": str(self.file_size),
                kind: "true",
                f"{kind}.filename": self.file,
                f"{kind}.virtualsize": str(self.virtual_size),
                f"{kind}.size": str(self.file_size),
            }
        )


def disk_named_in(values: Mapping[str, str]) -> str | None:
    """Return the name of the disk's file, None if the file does not say.

    Raises HostFileError for something that is no file name: it is user's content.
    """
    for key in ("vhdx.filename", "vhd.filename", "filename"):
        name = values.get(key, "").strip()
        if name:
            try:
                return checked_component(name)
            except HostFileError as error:
                raise HostFileError(f"{FILE_NAME}: {key}: {error}") from error
    return None


def _logical_lines(text: str) -> list[str]:
    """Return the lines without comments, continued lines joined."""
    lines: list[str] = []
    continued = False
    for raw in re.split(r"\r\n|\n|\r", text):
        line = raw.lstrip(" \t\f")
        if not continued and (not line or line[0] in "#!"):
            continue
        trailing = len(line) - len(line.rstrip("\\"))
        goes_on = trailing % 2 == 1
        body = line[:-1] if goes_on else line
        if continued:
            lines[-1] += body
        else:
            lines.append(body)
        continued = goes_on
    return lines


def _unescaped(text: str) -> str:
    units = _ESCAPE.sub(
        lambda match: chr(int(match[1], 16)) if match[1] else _CONTROL.get(match[2], match[2]), text
    )
    # A character beyond the first plane stands as two escapes.
    return units.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _escaped(text: str, *, blanks: bool = False) -> str:
    written = []
    for index, character in enumerate(text):
        if character in "\\:=#!":
            written.append(f"\\{character}")
        elif character == " " and (blanks or index == 0):
            written.append("\\ ")
        elif character in "\t\n\r\f":
            written.append({"\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}[character])
        elif " " <= character <= "~":
            written.append(character)
        else:
            units = character.encode("utf-16-be", "surrogatepass")
            written.extend(
                f"\\u{units[at] << 8 | units[at + 1]:04X}" for at in range(0, len(units), 2)
            )
    return "".join(written)
