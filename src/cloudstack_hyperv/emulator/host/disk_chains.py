r"""Chains of a machine's disks: branching for checkpoints, collapsing what nobody needs any more.

`collapse` looks at a whole family of files at once.  A file that was frozen by a checkpoint and is
used by nobody any more is removed when nothing stands on it, and takes in its child when exactly
one does; whoever used that child then uses the file.  Files with two children or more stay.  Only
frozen files are candidates: a template below a linked clone is nobody's to merge.
"""

from __future__ import annotations

from dataclasses import dataclass

from cloudstack_hyperv import vhd
from cloudstack_hyperv.emulator.host.disk_work import DiskWork
from cloudstack_hyperv.emulator.host.disks import HostDisks, failures
from cloudstack_hyperv.emulator.host.jobs import Progress


@dataclass(frozen=True, slots=True)
class Collapse:
    """Files in use (as spelled) and files that checkpoints froze (lower case)."""

    used: tuple[str, ...]
    frozen: frozenset[str]


class ChainWork:
    """File work on chains, run in a thread."""

    def __init__(self, disks: HostDisks, work: DiskWork) -> None:
        self._disks = disks
        self._work = work

    def branch(self, pairs: list[tuple[str, str]], progress: Progress) -> None:
        """Make a child for each (parent, child); all or none."""
        made: list[str] = []
        try:
            for number, (parent, child) in enumerate(pairs):
                progress.report(number, len(pairs))
                self._work.create_child(child, parent)
                made.append(child)
        except BaseException:
            self.discard(made)
            raise
        progress.report(1, 1)

    def discard(self, paths: list[str]) -> None:
        """Remove files; those that are gone already are fine."""
        for path in paths:
            self._disks.place(path).local.unlink(missing_ok=True)

    def collapse(self, collapse: Collapse) -> dict[str, str]:
        """Merge and remove; return where content went, old path (lower case) to new path."""
        used = {path.lower(): path for path in collapse.used}
        parents, spelling = self._family(collapse)
        moves: dict[str, str] = {}
        while True:
            idle = [f for f in parents if f in collapse.frozen and f not in used]
            children = {f: [c for c, parent in parents.items() if parent == f] for f in idle}
            doomed = next((f for f in idle if len(children[f]) < 2), None)
            if doomed is None:
                return moves
            if not children[doomed]:
                self.discard([spelling[doomed]])
                del parents[doomed]
                continue
            (child,) = children[doomed]
            self._take_in(spelling[doomed], spelling[child])
            del parents[child]
            for grandchild in [c for c, parent in parents.items() if parent == child]:
                self._work.set_parent(spelling[grandchild], spelling[doomed], ignore_mismatch=True)
                parents[grandchild] = doomed
            for old, new in list(moves.items()):
                if new.lower() == child:
                    moves[old] = spelling[doomed]
            moves[child] = spelling[doomed]
            if child in used:
                del used[child]
                used[doomed] = spelling[doomed]

    def _family(self, collapse: Collapse) -> tuple[dict[str, str], dict[str, str]]:
        """Return parent by file, and spelling by file, of all chains; keys are lower case."""
        parents: dict[str, str] = {}
        spelling: dict[str, str] = {}
        for start in (*collapse.used, *collapse.frozen):
            current = start
            while current and current.lower() not in parents:
                if not self._disks.place(current).local.is_file():
                    break
                info = self._disks.info(current)
                below = self._disks.parent_path(current, info)
                spelling.setdefault(current.lower(), self._disks.place(current).windows)
                parents[current.lower()] = below.lower()
                current = below
        return parents, spelling

    def _take_in(self, parent: str, child: str) -> None:
        verb = "merge the virtual hard disk"
        upper, lower = self._disks.existing(child, verb), self._disks.existing(parent, verb)
        with (
            failures(verb, child),
            self._disks.file(upper) as child_file,
            self._disks.file(lower, writable=True) as parent_file,
        ):
            vhd.merge(
                [child_file, parent_file],
                ignore_mismatch=True,
                disk_format=vhd.format_of_name(parent),
            )
        upper.local.unlink(missing_ok=True)
