r"""Windows path rules in one place: what may name a file on the host, and what may not.

Paths reach the agent from CloudStack's database and from its users.  Windows is forgiving where
that is dangerous: `a.vhdx.` is `a.vhdx`, `C:x` is relative to a folder nobody knows, `NUL.vhdx`
is a device, `a.vhdx:b` a hidden stream, `\\.\PhysicalDrive0` a disk.  Nothing is repaired here
but `/` for `\` and doubled separators; what is doubtful is refused.

Sources: Microsoft, "Naming Files, Paths, and Namespaces" and "Maximum Path Length Limitation".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cloudstack_hyperv.storage.host_files import HostFileError

MAX_COMPONENT: Final = 255
"""UTF-16 code units of one file or folder name (NTFS, ReFS, SMB)."""
MAX_PATH: Final = 259
"""UTF-16 code units of a whole path: MAX_PATH is 260 with the terminating zero."""

_RESERVED: Final = re.compile(
    r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|CLOCK\$|COM[0-9¹²³]|LPT[0-9¹²³])[ ]*(?:\..*)?",
    re.IGNORECASE | re.DOTALL,
)
_FORBIDDEN: Final = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_DRIVE: Final = re.compile(r"[A-Za-z]:\\")
_DISK_EXTENSION: Final = re.compile(r"\.(?:a?vhdx?|vhds|vhdpmem|iso)\Z", re.IGNORECASE)


class BadWindowsPath(HostFileError):
    """The text is not a path or name that we let near the host; says which rule it breaks."""


@dataclass(frozen=True, slots=True)
class SplitPath:
    r"""An absolute path in parts: root `C:\` or `\\server\share\`, then the names below it."""

    root: str
    components: tuple[str, ...]


def checked_component(name: str) -> str:
    """Return `name` if it can be the name of one file or folder; raises BadWindowsPath."""
    if not name:
        raise BadWindowsPath("a file name is empty")
    if name in (".", ".."):
        raise BadWindowsPath(f"{name!r} leads to another folder, it is not a file name")
    if _FORBIDDEN.search(name):
        raise BadWindowsPath(f"{_shown(name)} contains a character that Windows forbids in names")
    if name[-1] in " .":
        raise BadWindowsPath(f"{_shown(name)} ends with a dot or blank, which Windows drops")
    if name[0] == " ":
        raise BadWindowsPath(f"{_shown(name)} begins with a blank")
    if _RESERVED.fullmatch(name):
        raise BadWindowsPath(f"{_shown(name)} is the name of a device on Windows")
    if _utf16_units(name) > MAX_COMPONENT:
        raise BadWindowsPath(f"{_shown(name)} is longer than {MAX_COMPONENT} characters")
    return name


def checked_stem(stem: str) -> str:
    """Return `stem` if it is a file name without folder and without a disk's extension.

    CloudStack's `path` of an object on primary storage is such a stem.
    """
    checked_component(stem)
    if _DISK_EXTENSION.search(stem):
        raise BadWindowsPath(f"{_shown(stem)} has an extension where only the stem belongs")
    return stem


def split_path(path: str) -> SplitPath:
    r"""Take an absolute path (`C:\...` or `\\server\share\...`) apart; raises BadWindowsPath."""
    text = path.replace("/", "\\")
    if text.startswith(("\\\\.", "\\\\?", "\\??\\")):
        raise BadWindowsPath(f"{_shown(path)} is a device path")
    if text.startswith("\\\\"):
        names = [name for name in text[2:].split("\\") if name]
        if text.startswith("\\\\\\") or len(names) < 2:
            raise BadWindowsPath(f"{_shown(path)} does not name a server and a share")
        server, share, *names = names
        root = f"\\\\{_checked_server(server)}\\{checked_component(share)}\\"
    elif _DRIVE.match(text):
        root, names = f"{text[0].upper()}:\\", [name for name in text[3:].split("\\") if name]
    else:
        raise BadWindowsPath(f"{_shown(path)} is not an absolute Windows path")
    split = SplitPath(root, tuple(checked_component(name) for name in names))
    if _utf16_units(_assembled(split)) > MAX_PATH:
        raise BadWindowsPath(f"{_shown(path)} is longer than {MAX_PATH} characters")
    return split


def checked_path(path: str) -> str:
    r"""Return an absolute path in its one spelling (`\`, none doubled or at the end)."""
    return _assembled(split_path(path))


def join_path(folder: str, *names: str) -> str:
    """Return the path of `names` below `folder`, each one name; raises BadWindowsPath."""
    split = split_path(folder)
    extended = SplitPath(split.root, (*split.components, *map(checked_component, names)))
    return checked_path(_assembled(extended))


def join_relative(folder: str, relative: str) -> str:
    """Return the path of a relative path (`/` or `\\` between names) below `folder`.

    Refuses what is absolute, has a drive or steps out: raises BadWindowsPath.
    """
    text = relative.replace("/", "\\")
    if text.startswith("\\") or not text:
        raise BadWindowsPath(f"{_shown(relative)} is not a relative path")
    return join_path(folder, *(name for name in text.split("\\") if name))


def parent_folder(path: str) -> str:
    """Return the folder that holds `path`; raises BadWindowsPath for a root."""
    split = split_path(path)
    if not split.components:
        raise BadWindowsPath(f"{_shown(path)} has no parent folder")
    return _assembled(SplitPath(split.root, split.components[:-1]))


def file_name(path: str) -> str:
    """Return the last name of `path`; raises BadWindowsPath for a root."""
    split = split_path(path)
    if not split.components:
        raise BadWindowsPath(f"{_shown(path)} names no file")
    return split.components[-1]


def split_extension(name: str) -> tuple[str, str]:
    """Return stem and extension (with its dot, lower case) of a file name."""
    stem, dot, extension = name.rpartition(".")
    return (stem, f".{extension.lower()}") if dot and stem else (name, "")


def folded(text: str) -> str:
    """Return `text` as Windows compares names: each character by its own capital."""
    return "".join(
        capital if len(capital := character.upper()) == 1 else character for character in text
    )


def path_key(path: str) -> str:
    """Return the text by which two spellings of one path are equal; raises BadWindowsPath."""
    return folded(checked_path(path))


def same_path(one: str, other: str) -> bool:
    """Tell whether two texts name the same path; what is no path equals nothing."""
    try:
        return path_key(one) == path_key(other)
    except BadWindowsPath:
        return False


def relative_to(path: str, folder: str) -> tuple[str, ...] | None:
    """Return the names that lead from `folder` to `path`, None if `path` is not below it."""
    below, above = split_path(path), split_path(folder)
    depth = len(above.components)
    if folded(below.root) != folded(above.root) or [
        folded(name) for name in below.components[:depth]
    ] != [folded(name) for name in above.components]:
        return None
    return below.components[depth:]


def _assembled(split: SplitPath) -> str:
    if not split.components:
        return split.root if split.root[1] == ":" else split.root.rstrip("\\")
    return split.root + "\\".join(split.components)


def _checked_server(server: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_](?:[A-Za-z0-9_.\-]*[A-Za-z0-9_])?\$?", server):
        raise BadWindowsPath(f"{_shown(server)} is not the name or address of a server")
    return server


def _utf16_units(text: str) -> int:
    try:
        return len(text.encode("utf-16-le")) // 2
    except UnicodeEncodeError:
        raise BadWindowsPath(f"{_shown(text)} is not valid Unicode") from None


def _shown(text: str) -> str:
    """Quote a text for an error message; a query, which may hold a password, is cut off."""
    head, question, _ = text.partition("?")
    shown = head if len(head) <= 100 else f"{head[:100]}..."
    return ascii(shown + ("?***" if question else ""))
