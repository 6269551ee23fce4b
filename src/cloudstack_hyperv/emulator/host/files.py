r"""Windows paths of the host, and where they lie on the machine that runs the emulator.

`C:\x` and `\\server\share\x` are folders of ours; names are compared without letter case, as
NTFS does.  Nothing outside these folders can be reached: `..` stops at a drive's root, and a
symbolic link that leads out is refused.  `locked` files are those that a machine, a mount or a
job of the image service holds open; deleting them is a sharing violation, as on Windows.

Who may use a UNC path: VMMS opens it as the host's computer account, so the share's access list
decides, whoever called; a process started by a caller has no credentials for a second hop unless
the login was one that passes them on.  (Microsoft, "Configure Hyper-V over SMB"; the double-hop
pages of PowerShell remoting.)  A global mapping (module `smb_mappings`) opens a share for everyone
on the host with credentials of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cloudstack_hyperv.emulator.host.config import Drive, Share, SharedVolume
from cloudstack_hyperv.emulator.host.outcome import Hresult, JobFailed, file_failure
from cloudstack_hyperv.emulator.host.space import HostFile, Space

_DRIVE_PATH = re.compile(r"(?P<letter>[A-Za-z]):(?P<rest>\\.*|)$", re.DOTALL)
_UNC_PATH = re.compile(
    r"\\\\(?P<server>[^\\?.][^\\]*)\\(?P<share>[^\\]+)(?P<rest>\\.*|)$", re.DOTALL
)
_FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f]')
_DEVICE = re.compile(r"(?:CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(?:\..*)?$", re.IGNORECASE)


class BadWindowsPath(ValueError):
    """Not a full path of a drive or share, or a name that Windows does not allow."""


@dataclass(frozen=True, slots=True)
class Place:
    """A Windows path and its file or folder here (which need not exist)."""

    windows: str
    local: Path
    root: Path
    share: Share | None = None
    drive: str = ""


class HostFiles:
    """The drives and shares of one host, and which files are held open."""

    def __init__(
        self,
        folder: Path,
        drives: tuple[Drive, ...],
        shares: tuple[Share, ...],
        volumes: tuple[SharedVolume, ...] = (),
    ) -> None:
        self._drives = {
            drive.letter.upper(): (drive, drive.folder or folder / drive.letter.lower())
            for drive in drives
        }
        self._shares = {(s.server.lower(), s.name.lower()): s for s in shares}
        self._held: dict[Path, dict[str, bool]] = {}
        self._host = ""
        self._mapped: dict[tuple[str, str], str] = {}
        self.space = Space()
        for _, root in self._drives.values():
            root.mkdir(parents=True, exist_ok=True)
        self._volumes: dict[tuple[str, ...], SharedVolume] = {}
        for volume in volumes:
            self._mount(volume)

    @property
    def drives(self) -> list[tuple[Drive, Path]]:
        """Drives with their folders, by letter."""
        return [self._drives[letter] for letter in sorted(self._drives)]

    @property
    def shares(self) -> list[Share]:
        """Shares this host can reach."""
        return list(self._shares.values())

    @property
    def volumes(self) -> list[SharedVolume]:
        """Cluster shared volumes mounted here."""
        return list(self._volumes.values())

    def _mount(self, volume: SharedVolume) -> None:
        """Mount a volume; its mount point shows as a folder of the drive below it."""
        self.locate(volume.path).local.mkdir(parents=True, exist_ok=True)
        volume.folder.mkdir(parents=True, exist_ok=True)
        letter, parts = volume.path[:1].upper(), _parts(volume.path[2:])
        self._volumes[letter, *(part.casefold() for part in parts)] = volume

    def _mounted(self, letter: str, parts: list[str]) -> tuple[SharedVolume, list[str]] | None:
        """Return the volume that a path of a drive leads into, and the rest of the path."""
        names = tuple(part.casefold() for part in parts)
        for point, volume in self._volumes.items():
            if point == (letter, *names)[: len(point)]:
                return volume, parts[len(point) - 1 :]
        return None

    def remove_share(self, server: str, name: str) -> None:
        """Take a share away, as when the file server dies."""
        self._shares.pop((server.lower(), name.lower()), None)

    def find_share(self, windows: str) -> Share | None:
        """Return the share that a UNC path is in, None if there is none."""
        unc = _UNC_PATH.match(windows)
        if unc is None:
            return None
        return self._shares.get((unc["server"].lower(), unc["share"].lower()))

    def map_share(self, share: Share, letter: str = "") -> None:
        """Let everyone on the host into a share, under a drive letter if one is given."""
        self._mapped[share.server.lower(), share.name.lower()] = letter.upper()

    def unmap_share(self, server: str, name: str) -> None:
        """End that."""
        self._mapped.pop((server.lower(), name.lower()), None)

    def is_mapped(self, share: Share) -> bool:
        """Whether everyone on the host may use a share's mapping."""
        return (share.server.lower(), share.name.lower()) in self._mapped

    def add_share(self, share: Share) -> None:
        """Make a share reachable."""
        self._shares[share.server.lower(), share.name.lower()] = share

    def locate(self, windows: str) -> Place:
        """Return where a path lies.

        Raises BadWindowsPath, FileNotFoundError for an unknown drive or share, PermissionError
        for a link that leads out.
        """
        path = windows.replace("/", "\\")
        if path.startswith("\\\\?\\"):
            path = path[4:]
            path = f"\\\\{path[4:]}" if path.upper().startswith("UNC\\") else path
        drive = _DRIVE_PATH.match(path)
        if drive is not None:
            known = self._drives.get(drive["letter"].upper())
            if known is None:
                for key, letter in self._mapped.items():
                    if letter == drive["letter"].upper() and key in self._shares:
                        remote = self._shares[key]
                        return self.locate(f"\\\\{remote.server}\\{remote.name}{drive['rest']}")
                raise FileNotFoundError(f"no drive {drive['letter']}:")
            parts = _parts(drive["rest"])
            letter = drive["letter"].upper()
            mounted = self._mounted(letter, parts)
            root = known[1] if mounted is None else mounted[0].folder
            local = _descend(root, parts if mounted is None else mounted[1])
            return Place(f"{letter}:\\" + "\\".join(parts), local, root, drive=letter)
        unc = _UNC_PATH.match(path)
        if unc is None:
            raise BadWindowsPath(f"not a full Windows path: {windows!r}")
        share = self._shares.get((unc["server"].lower(), unc["share"].lower()))
        if share is None:
            raise FileNotFoundError(f"no share \\\\{unc['server']}\\{unc['share']}")
        parts = _parts(unc["rest"])
        name = "\\".join((f"\\\\{unc['server']}\\{unc['share']}", *parts))
        return Place(name, _descend(share.folder, parts), share.folder, share=share)

    def for_vmms(self, windows: str, account: str, verb: str = "open file") -> Place:
        """Return where a path lies if VMMS may go there; raises JobFailed as VMMS would."""
        try:
            place = self.locate(windows)
        except BadWindowsPath as problem:
            raise file_failure(
                verb,
                windows,
                "The filename, directory name, or volume label syntax is incorrect.",
                Hresult.INVALID_NAME,
            ) from problem
        except FileNotFoundError as problem:
            raise file_failure(
                verb,
                windows,
                "The system cannot find the path specified.",
                Hresult.PATH_NOT_FOUND,
            ) from problem
        except PermissionError as problem:
            raise _denied(verb, windows) from problem
        share = place.share
        if share is not None and not self.is_mapped(share) and not may_enter(share, account):
            raise _denied(verb, windows)
        return place

    def open(self, place: Place, *, writable: bool = False) -> HostFile:
        """Open a file of the host; raises OSError."""
        return HostFile(place.local, space=self.space, root=place.root, writable=writable)

    def create(self, place: Place) -> HostFile:
        """Make a file of the host, which must not exist; raises OSError."""
        return HostFile(place.local, space=self.space, root=place.root, new=True)

    def share_holds(self, held: dict[Path, dict[str, bool]], host: str) -> None:
        """Keep open files where other hosts see them: on shared storage one file is one file."""
        self._held = held
        self._host = f"{host}/"

    def hold(self, place: Place, holder: str, *, exclusive: bool) -> None:
        """Open a file for a holder; raises JobFailed with a sharing violation."""
        holder = self._host + holder
        held = self._held.setdefault(place.local, {})
        others = {who: alone for who, alone in held.items() if who != holder}
        if others and (exclusive or any(others.values())):
            raise sharing_violation(place.windows)
        held[holder] = exclusive or held.get(holder, False)

    def release(self, holder: str) -> None:
        """Close everything that a holder has open."""
        holder = self._host + holder
        for path in [path for path, held in self._held.items() if holder in held]:
            held = self._held[path]
            del held[holder]
            if not held:
                del self._held[path]

    def holders(self, local: Path) -> dict[str, bool]:
        """Return who holds a file, and whether exclusively."""
        held = self._held.get(local, {})
        return {who.removeprefix(self._host): alone for who, alone in held.items()}

    def holders_below(self, folder: Path) -> set[str]:
        """Return who holds files in a folder, at any depth."""
        found = [held for path, held in self._held.items() if folder in path.parents]
        return {who.removeprefix(self._host) for held in found for who in held}

    def is_held(self, local: Path) -> bool:
        """Whether a file, or something inside a folder, is held open."""
        return any(path == local or local in path.parents for path in self._held)


def may_enter(share: Share, account: str) -> bool:
    """Whether a share's access list lets an account in."""
    names = {name.lower() for name in share.accounts}
    return "everyone" in names or account.lower() in names


def sharing_violation(windows: str) -> JobFailed:
    """Return the failure for a file that is in use."""
    return file_failure(
        "open",
        windows,
        "The process cannot access the file because it is being used by another process.",
        Hresult.SHARING_VIOLATION,
    )


def _denied(verb: str, windows: str) -> JobFailed:
    return file_failure(
        verb, windows, "General access denied error. Access is denied.", Hresult.ACCESS_DENIED
    )


def _parts(rest: str) -> list[str]:
    parts: list[str] = []
    for raw in rest.split("\\"):
        if raw in ("", "."):
            continue
        if raw == "..":
            if parts:
                parts.pop()
            continue
        name = raw.rstrip(". ")
        if not name or _FORBIDDEN.search(name) or _DEVICE.match(name) or len(name) > 255:
            raise BadWindowsPath(f"{raw[:80]!r} is not a name that Windows allows")
        parts.append(name)
    return parts


def _descend(root: Path, parts: list[str]) -> Path:
    """Follow names without letter case from `root`; what does not exist keeps its spelling."""
    current = root
    for name in parts:
        exact = current / name
        current = exact if exact.exists() or exact.is_symlink() else _other_case(current, name)
    real = Path(os.path.realpath(current))
    if not real.is_relative_to(os.path.realpath(root)):
        raise PermissionError(f"{current.name!r} leads out of its drive")
    return current


def _other_case(folder: Path, name: str) -> Path:
    wanted = name.casefold()
    try:
        entries: Iterator[os.DirEntry[str]]
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.casefold() == wanted:
                    return folder / entry.name
    except OSError:
        pass  # the folder does not exist: the name keeps its spelling
    return folder / name
