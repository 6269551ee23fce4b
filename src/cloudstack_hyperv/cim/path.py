r"""CIM object paths as text: `\\HOST\root\virtualization\v2:Class.Key="value",Key2="value"`.

Hyper-V keeps such paths in string properties (`Parent`, `HostResource`).  Inside the quotes a
backslash is doubled and a quote is escaped; host and namespace may be left out; the letter case
of host, namespace, class and key names has no meaning.

Sources: Microsoft, "Describing a WMI object path"; libvirt's hyperv driver writes the namespace
as `Root\Virtualization\V2`, go-wsman leaves the host out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Self

_HEAD = re.compile(
    r"""
    (?:\\\\(?P<host>[^\\/:*?"<>|]+)[\\/])?      # \\HOST\  (optional)
    (?:(?P<namespace>[A-Za-z0-9_][A-Za-z0-9_\\/]*):)?       # root\virtualization\v2:  (optional)
    (?P<class>[A-Za-z_][A-Za-z0-9_]*)
    """,
    re.VERBOSE,
)
_KEY = re.compile(
    r"""
    (?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*
    (?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'|(?P<bare>-?[0-9]+|[Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]))
    """,
    re.VERBOSE | re.DOTALL,
)


class MalformedPath(ValueError):
    """The text is not a CIM object path."""


@dataclass(frozen=True, slots=True)
class ObjectPath:
    """A reference to one CIM instance.

    `keys` holds key values as text (numbers in decimal), in the order of the path.  Equality is
    exact; use `same_object` to compare as Windows does.  `host` is "" for a path without a host
    part, `namespace` is written with forward slashes ("root/virtualization/v2").
    """

    class_name: str
    keys: tuple[tuple[str, str], ...]
    namespace: str = ""
    host: str = field(default="", compare=False)

    @classmethod
    def of(cls, class_name: str, /, namespace: str = "root/virtualization/v2", **keys: str) -> Self:
        """Build a path from keyword keys: `ObjectPath.of("Msvm_X", InstanceID="...")`."""
        return cls(class_name, tuple(keys.items()), namespace)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a path; raises MalformedPath when it is not one."""
        head = _HEAD.match(text)
        if head is None:
            raise MalformedPath(f"not a CIM object path: {text[:200]!r}")
        position = head.end()
        keys: list[tuple[str, str]] = []
        separator = "."
        while position < len(text):
            if text[position] != separator:
                raise MalformedPath(f"not a CIM object path: {text[:200]!r}")
            key = _KEY.match(text, position + 1)
            if key is None:
                raise MalformedPath(f"not a CIM object path: {text[:200]!r}")
            keys.append((key["name"], _key_value(key)))
            position, separator = key.end(), ","
        namespace = (head["namespace"] or "").replace("\\", "/").strip("/")
        return cls(head["class"], tuple(keys), namespace, head["host"] or "")

    def key(self, name: str) -> str | None:
        """Return the value of a key, the name taken without letter case; None if not there."""
        wanted = name.lower()
        return next((value for key, value in self.keys if key.lower() == wanted), None)

    def same_object(self, other: ObjectPath) -> bool:
        """Compare without letter case and without host; an empty namespace matches any."""
        return (
            self.class_name.lower() == other.class_name.lower()
            and (
                not self.namespace
                or not other.namespace
                or self.namespace.lower() == other.namespace.lower()
            )
            and {(k.lower(), v.lower()) for k, v in self.keys}
            == {(k.lower(), v.lower()) for k, v in other.keys}
        )

    def __str__(self) -> str:
        namespace = self.namespace.replace("/", "\\")
        if self.host:
            prefix = f"\\\\{self.host}\\{namespace}:"
        else:
            prefix = f"{namespace}:" if namespace else ""
        keys = ",".join(f'{name}="{_escape(value)}"' for name, value in self.keys)
        return f"{prefix}{self.class_name}.{keys}" if keys else f"{prefix}{self.class_name}"


def _key_value(match: re.Match[str]) -> str:
    if match["bare"] is not None:
        return match["bare"]
    quoted = match["double"] if match["double"] is not None else match["single"]
    return re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
