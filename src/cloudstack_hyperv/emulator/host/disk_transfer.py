r"""Moving a machine's disks: which files go where, and copying them with their chains intact.

A machine owns the files that its settings and its checkpoints name and those that checkpoints
froze.  They move together: the parents of a disk go into the folder of the disk's new path, under
their own names, and each child is told where its parent is now.  A parent that the machine does
not own (a template below a linked clone) stays where it is and must be reachable from there.

Files are copied under temporary names and get their own ones when all are complete, so that a
failure at any point leaves neither half a disk nor an overwritten one.
"""

from __future__ import annotations

import dataclasses
import errno
import ntpath
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from cloudstack_hyperv.emulator.host.checkpoints import disk_paths
from cloudstack_hyperv.emulator.host.disk_work import DiskWork
from cloudstack_hyperv.emulator.host.disks import HostDisks, os_failure
from cloudstack_hyperv.emulator.host.files import HostFiles, Place
from cloudstack_hyperv.emulator.host.jobs import Progress
from cloudstack_hyperv.emulator.host.machine import Machine
from cloudstack_hyperv.emulator.host.outcome import Hresult, file_failure

_CHUNK = 2**20
_VERB = "migrate the virtual hard disk"


@dataclass(frozen=True, slots=True)
class FileMove:
    """One file and its new place."""

    source: Place
    target: Place


@dataclass(frozen=True, slots=True)
class TransferPlan:
    """What has to be copied, and how chains are linked afterwards."""

    moves: tuple[FileMove, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    """(child, parent) as the destination spells them."""
    foreign: tuple[Place, ...] = ()
    """Parents that the machine does not own, as the source sees them."""
    renames: Mapping[Path, str] = field(default_factory=dict)
    """New Windows path by the old file."""

    def needed(self) -> dict[Path, int]:
        """Return the bytes that each volume of the destination has to take."""
        found: dict[Path, int] = {}
        for move in self.moves:
            size = move.source.local.stat().st_size
            found[move.target.root] = found.get(move.target.root, 0) + size
        return found


def plan_transfer(
    machine: Machine, source: HostDisks, destination: HostDisks, targets: Mapping[str, str]
) -> TransferPlan:
    """Plan moving disks to `targets`, new Windows path by current path; raises JobFailed.

    A disk whose new place is the file itself (shared storage, or an unchanged path) stays.
    """
    owned = {source.place(path).local for path in owned_files(machine)}
    moves: dict[Path, FileMove] = {}
    links: list[tuple[str, str]] = []
    foreign: dict[Path, Place] = {}

    def take(chain: list[Place], folder: str, leaf: str) -> None:
        for depth, place in enumerate(chain):
            if place.local not in owned:
                foreign[place.local] = place
                return
            if place.local in moves:
                return
            name = ntpath.basename(place.windows)
            target = destination.place(leaf if depth == 0 else ntpath.join(folder, name), _VERB)
            if target.local == place.local:
                return
            moves[place.local] = FileMove(place, target)

    for path, new in targets.items():
        take(source.chain(path), ntpath.dirname(new), new)
    # Branches that the machine does not stand on now follow the files they stand on.
    for path in owned_files(machine):
        chain = source.chain(path)
        below = next((moves[p.local] for p in chain if p.local in moves), None)
        if below is not None:
            folder = ntpath.dirname(below.target.windows)
            take(chain, folder, ntpath.join(folder, ntpath.basename(chain[0].windows)))
    for move in moves.values():
        below_it = source.chain(move.source.windows)[1:2]
        for parent in below_it:
            moved = moves.get(parent.local)
            links.append((move.target.windows, moved.target.windows if moved else parent.windows))
    _refuse_two_in_one_place(moves)
    renames = {local: move.target.windows for local, move in moves.items()}
    return TransferPlan(tuple(moves.values()), tuple(links), tuple(foreign.values()), renames)


def _refuse_two_in_one_place(moves: Mapping[Path, FileMove]) -> None:
    seen: set[Path] = set()
    for move in moves.values():
        if move.target.local in seen:
            raise file_failure(_VERB, move.target.windows, "The file exists.", Hresult.FILE_EXISTS)
        seen.add(move.target.local)


def owned_files(machine: Machine) -> list[str]:
    """Return the Windows paths of the disk files that are the machine's own, each once."""
    found: dict[str, str] = {}
    for settings in machine.all_settings():
        for path in disk_paths(settings):
            found.setdefault(path.lower(), path)
    for path in machine.frozen_files:
        found.setdefault(path.lower(), path)
    return list(found.values())


def free_bytes(files: HostFiles, place: Place) -> int:
    """Return the free space of the volume or share that a path lies on."""
    state = os.statvfs(place.root)
    capacity = next(
        (drive.capacity for drive, root in files.drives if root == place.root),
        place.share.capacity if place.share is not None else 2**63,
    )
    return files.space.free(place.root, min(capacity, state.f_bavail * state.f_frsize))


class Transfer:
    """Copies files in a thread; what it made can be thrown away at any time."""

    def __init__(
        self,
        plan: TransferPlan,
        destination: HostDisks,
        *,
        overwrite: bool = False,
        before_chunk: Callable[[], None] = lambda: None,
    ) -> None:
        self._plan = plan
        self._disks = destination
        self._work = DiskWork(destination)
        self._overwrite = overwrite
        self._before_chunk = before_chunk
        self._made: list[Path] = []
        self._lock = threading.Lock()
        self._abandoned = False
        self._running = False

    def run(self, progress: Progress) -> None:
        """Copy everything; raises JobFailed, and then nothing is left behind."""
        with self._lock:
            self._running = True
        try:
            self._copy_all(progress)
        except BaseException:
            self._discard()
            raise
        finally:
            with self._lock:
                self._running = False
                abandoned = self._abandoned
            if abandoned:
                self._discard()

    def abandon(self) -> None:
        """Remove what was made, now or as soon as the thread notices."""
        with self._lock:
            self._abandoned = True
            running = self._running
        if not running:
            self._discard()

    def _discard(self) -> None:
        for path in self._made:
            path.unlink(missing_ok=True)
        self._made.clear()

    def _copy_all(self, progress: Progress) -> None:
        total = sum(move.source.local.stat().st_size for move in self._plan.moves) or 1
        done = 0
        scratch: list[tuple[Path, Path, str]] = []
        for move in self._plan.moves:
            target = move.target.local
            temporary = target.with_name(target.name + ".moving")
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                if target.exists() and not self._overwrite:
                    raise FileExistsError(errno.EEXIST, "exists")
                self._made.append(temporary)
                scratch_place = dataclasses.replace(move.target, local=temporary)
                for length in self._copy(move.source.local, scratch_place):
                    done += length
                    progress.report(done, total)
            except OSError as problem:
                raise os_failure(_VERB, move.target.windows, problem) from problem
            scratch.append((temporary, target, move.target.windows))
        for temporary, target, windows in scratch:
            try:
                temporary.replace(target)
            except OSError as problem:
                raise os_failure(_VERB, windows, problem) from problem
            self._made.append(target)
        for child, parent in self._plan.links:
            self._work.set_parent(child, parent, ignore_mismatch=True)
        progress.report(total, total)

    def _copy(self, source: Path, target: Place) -> Iterator[int]:
        """Copy one file without its holes; yield the bytes that each step came forward."""
        with source.open("rb") as reader, self._disks.new_file(target) as writer:
            size = os.fstat(reader.fileno()).st_size
            position = 0
            for start, end in _data_ranges(reader, size):
                yield start - position
                position = start
                while position < end:
                    self._before_chunk()
                    chunk = os.pread(reader.fileno(), min(_CHUNK, end - position), position)
                    if not chunk:
                        break
                    writer.pwrite(position, chunk)
                    position += len(chunk)
                    yield len(chunk)
            writer.truncate(size)
            yield size - position


def _data_ranges(file: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    descriptor, position = file.fileno(), 0
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as problem:
            if problem.errno == errno.ENXIO:
                return  # only a hole is left
            raise
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end
        position = end


def remove_sources(plan: TransferPlan) -> None:
    """Remove the files that have been moved; one that is gone already is fine."""
    for move in plan.moves:
        move.source.local.unlink(missing_ok=True)
