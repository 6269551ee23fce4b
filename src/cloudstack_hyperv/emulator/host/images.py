"""Msvm_ImageManagementService: requests for work on virtual disk files, and what is read of them.

Everything that writes is a storage job whose work runs in a thread; until it is over its files are
held, so that nobody starts a machine on a half-written disk.

Source: Microsoft's page Msvm_ImageManagementService and its methods' pages.
"""

from __future__ import annotations

import ntpath
import uuid
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime

from cloudstack_hyperv import vhd
from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import NAMESPACE_VIRTUALIZATION, ReturnCode, VhdFormat, VhdType
from cloudstack_hyperv.emulator.cim.provider import (
    CimFault,
    MethodCall,
    MethodReply,
    Row,
    Value,
    WmiCode,
)
from cloudstack_hyperv.emulator.host.arguments import flag, instance, integer, string
from cloudstack_hyperv.emulator.host.clock import NEVER
from cloudstack_hyperv.emulator.host.disk_work import DiskWish, DiskWork
from cloudstack_hyperv.emulator.host.disks import HostDisks, failures
from cloudstack_hyperv.emulator.host.jobs import Job, JobKind, Progress
from cloudstack_hyperv.emulator.host.operation import Operation
from cloudstack_hyperv.emulator.host.outcome import (
    JobFailed,
    invalid_parameter,
)
from cloudstack_hyperv.emulator.host.site import Site, number, text

CREATE = JobKind.storage(1, "Creating Virtual Hard Disk")
FLOPPY = JobKind.storage(2, "Creating Virtual Floppy Disk")
COMPACT = JobKind.storage(3, "Compacting Virtual Hard Disk")
RESIZE = JobKind.storage(4, "Resizing Virtual Hard Disk")
MERGE = JobKind.storage(5, "Merging Virtual Hard Disk")
CONVERT = JobKind.storage(6, "Converting Virtual Hard Disk")
MOUNT = JobKind.storage(7, "Attaching Virtual Hard Disk")
RECONNECT = JobKind.storage(0, "Reconnecting Virtual Hard Disk")
VALIDATE = JobKind.storage(9, "Validating Virtual Hard Disk")

LARGEST = {VhdFormat.VHD: 2040 * 2**30, VhdFormat.VHDX: 64 * 2**40}
SETTINGS = "Msvm_VirtualHardDiskSettingData"
STATE = "Msvm_VirtualHardDiskState"
MOUNTED = "Msvm_MountedStorageImage"
_COMPACT_MODES = range(5)

Reply = MethodReply | Awaitable[MethodReply]
Work = Callable[[Progress], None]


class Images:
    """The image management service of one host."""

    def __init__(self, site: Site, disks: HostDisks, work: DiskWork) -> None:
        self._site = site
        self._disks = disks
        self._work = work
        self._mounted: dict[int, str] = {}

    @property
    def methods(self) -> dict[str, Callable[[MethodCall], Reply]]:
        """Methods by name."""
        return {
            "CreateVirtualHardDisk": self.create,
            "CreateVirtualFloppyDisk": self.create_floppy,
            "ConvertVirtualHardDisk": self.convert,
            "MergeVirtualHardDisk": self.merge,
            "ResizeVirtualHardDisk": self.resize,
            "CompactVirtualHardDisk": self.compact,
            "SetParentVirtualHardDisk": self.set_parent,
            "ValidateVirtualHardDisk": self.validate,
            "AttachVirtualHardDisk": self.attach,
            "FindMountedStorageImageInstance": self.find_mounted,
            "GetVirtualHardDiskSettingData": self.get_settings,
            "GetVirtualHardDiskState": self.get_state,
        }

    # Reading -------------------------------------------------------------------------------

    def get_settings(self, call: MethodCall) -> Reply:
        """Return what a disk says of itself."""
        path = string(call, "Path")
        return MethodReply(ReturnCode.COMPLETED, {"SettingData": self.settings_row(path)})

    def settings_row(self, path: str) -> Row:
        """Return a disk's description as Msvm_VirtualHardDiskSettingData; raises JobFailed."""
        verb = "get the virtual hard disk settings of"
        place = self._disks.existing(path, verb)
        info = self._disks.info(path, verb)
        values: dict[str, Value] = {
            "InstanceID": place.windows,
            "Caption": "Virtual Hard Disk Setting Data",
            "Description": "Setting Data for a Virtual Hard Disk",
            "ElementName": ntpath.basename(place.windows),
            "Type": int(info.type),
            "Format": int(info.format),
            "Path": place.windows,
            "ParentPath": self._disks.parent_path(path, info) or _claimed_parent(info),
            "ParentTimestamp": NEVER,
            "MaxInternalSize": info.virtual_size,
            "BlockSize": info.block_size,
            "LogicalSectorSize": info.logical_sector_size,
            "PhysicalSectorSize": info.physical_sector_size,
        }
        values["VirtualDiskId"] = str(info.disk_id).upper()
        if info.parent is not None:
            values["ParentIdentifier"] = str(info.parent.linkage).upper()
        return self._site.schema.native(Row(SETTINGS, values))

    def get_state(self, call: MethodCall) -> Reply:
        """Return a disk file's state; one that a machine writes to cannot be looked into."""
        path = string(call, "Path")
        verb = "get the state of virtual hard disk"
        place = self._disks.existing(path, verb)
        with self._disks.opened(path, verb) as disk:
            smallest, info = vhd.minimum_size(disk), disk.info
        values: dict[str, Value] = {
            "FileSize": place.local.stat().st_size,
            "InUse": bool(self._site.files.holders(place.local)),
            "MinInternalSize": smallest,
            "PhysicalSectorSize": info.physical_sector_size,
            "Alignment": 1,
            "FragmentationPercentage": 0,
            "Timestamp": datetime.fromtimestamp(place.local.stat().st_mtime, UTC),
        }
        state = self._site.schema.native(Row(STATE, values))
        return MethodReply(ReturnCode.COMPLETED, {"State": state})

    # Writing -------------------------------------------------------------------------------

    def create(self, call: MethodCall) -> Reply:
        """Make a new disk file."""
        wish = disk_wish(call)
        return self._run(
            call,
            CREATE,
            lambda progress: self._work.create(wish, progress),
            writes=wish.path,
            reads=wish.parent,
        )

    def create_floppy(self, call: MethodCall) -> Reply:
        """Make an empty 1.44 MB floppy image."""
        path = string(call, "Path")
        verb = "create the virtual floppy disk"

        def work(progress: Progress) -> None:
            place = self._disks.new(path, verb)
            with failures(verb, path), place.local.open("xb") as file:
                file.truncate(1440 * 1024)
            progress.report(1, 1)

        return self._run(call, FLOPPY, work, writes=path)

    def convert(self, call: MethodCall) -> Reply:
        """Copy a disk, its parents included, into a new file of another type or format."""
        source = string(call, "SourcePath")
        wish = disk_wish(call, converting=True)
        return self._run(
            call,
            CONVERT,
            lambda progress: self._work.convert(source, wish, progress),
            writes=wish.path,
            reads=source,
        )

    def merge(self, call: MethodCall) -> Reply:
        """Move a differencing disk's content into one of its ancestors."""
        child, ancestor = string(call, "SourcePath"), string(call, "DestinationPath")
        return self._run(
            call,
            MERGE,
            lambda progress: self._work.merge(child, ancestor, progress),
            writes=ancestor,
            reads=child,
        )

    def resize(self, call: MethodCall) -> Reply:
        """Grow a disk, or shrink it to no less than what is in use."""
        path, size = string(call, "Path"), integer(call, "MaxInternalSize")
        if not 0 < size <= LARGEST[VhdFormat.VHDX]:
            raise invalid_parameter(f"MaxInternalSize {size}")
        online = self._site.profile.is_2012_r2_or_newer and path.lower().endswith(".vhdx")
        return self._run(
            call,
            RESIZE,
            lambda progress: self._work.resize(path, size, progress),
            writes="" if online else path,
        )

    def compact(self, call: MethodCall) -> Reply:
        """Make a disk's file smaller."""
        path = string(call, "Path")
        if integer(call, "Mode", 0) not in _COMPACT_MODES:
            raise invalid_parameter("Mode is 0 to 4")
        return self._run(
            call, COMPACT, lambda progress: self._work.compact(path, progress), writes=path
        )

    def set_parent(self, call: MethodCall) -> Reply:
        """Tell a differencing disk where its parent is."""
        child, parent = string(call, "ChildPath"), string(call, "ParentPath")
        ignore = flag(call, "IgnoreIDMismatch")

        def work(progress: Progress) -> None:
            self._work.set_parent(child, parent, ignore_mismatch=ignore)
            progress.report(1, 1)

        return self._run(call, RECONNECT, work, writes=child, reads=parent)

    def validate(self, call: MethodCall) -> Reply:
        """Read a disk and its parents; the job fails where something is wrong."""
        path = string(call, "Path")
        return self._run(
            call, VALIDATE, lambda progress: self._work.validate(path, progress), reads=path
        )

    def _run(
        self, call: MethodCall, kind: JobKind, work: Work, *, writes: str = "", reads: str = ""
    ) -> Reply:
        """Run disk work; the files it touches are held by it until it is over."""
        holder = f"image-service/{uuid.UUID(int=self._site.dice.random.getrandbits(128))}"

        def release(_: object = None) -> None:
            self._disks.release(holder)

        def on_job(job: Job) -> None:
            job.child_path, job.parent_path = writes or reads, reads

        try:
            if reads:
                self._hold(holder, reads, exclusive=False)
            if writes:
                self._hold(holder, writes, exclusive=True)
        except JobFailed as clash:
            release()
            failure = clash

            def fail(progress: Progress) -> None:
                del progress
                raise failure

            return self._start(call, kind, fail, release, on_job)
        return self._start(call, kind, work, release, on_job)

    def _start(
        self,
        call: MethodCall,
        kind: JobKind,
        work: Work,
        release: Callable[[object], None],
        on_job: Callable[[Job], None],
    ) -> Reply:
        seconds = self._site.config.timings.image
        return self._site.conductor.run(
            call,
            Operation(kind, release, seconds, work=work, fail=lambda: release(None), on_job=on_job),
        )

    def _hold(self, holder: str, path: str, *, exclusive: bool) -> None:
        try:
            place = self._disks.place(path)
        except JobFailed:
            return  # the work meets the same problem, and reports it in its own words
        self._site.files.hold(place, holder, exclusive=exclusive)

    # Mounting in the host ------------------------------------------------------------------

    def attach(self, call: MethodCall) -> Reply:
        """Mount a disk in the host: it is held until it is detached."""
        path = string(call, "Path")
        read_only = flag(call, "ReadOnly")

        def apply(_: object) -> None:
            places = self._disks.chain(path, "attach the virtual hard disk")
            lun = next(n for n in range(64) if n not in self._mounted)
            holder = f"mount/{lun}"
            try:
                for index, place in enumerate(places):
                    self._site.files.hold(place, holder, exclusive=index == 0 and not read_only)
            except JobFailed:
                self._disks.release(holder)
                raise
            self._mounted[lun] = places[0].windows

        seconds = self._site.config.timings.image
        return self._site.conductor.run(call, Operation(MOUNT, apply, seconds))

    def mounted(self) -> Iterator[Row]:
        """Yield disks that are mounted in the host."""
        for lun, path in self._mounted.items():
            yield Row(
                MOUNTED,
                {
                    "Caption": "Mounted Storage Image",
                    "Description": "Microsoft Mounted Storage Image",
                    "ElementName": "Mounted Storage Image",
                    "Name": path,
                    "OperationalStatus": [2],
                    "StatusDescriptions": ["OK"],
                    "Status": "OK",
                    "HealthState": 5,
                    "Type": 2,
                    "Access": 3,
                    "PortNumber": 2,
                    "PathId": 0,
                    "TargetId": 1,
                    "Lun": lun,
                },
            )

    def find_mounted(self, call: MethodCall) -> Reply:
        """Return the mount of a path (criterion 0)."""
        wanted = string(call, "SelectionCriterion")
        place = self._disks.place(wanted)
        for row in self.mounted():
            if str(row.values["Name"]).lower() == place.windows.lower():
                return MethodReply(ReturnCode.COMPLETED, {"Image": mount_reference(row)})
        return MethodReply(ReturnCode.FILE_NOT_FOUND)

    def detach(self, call: MethodCall) -> Reply:
        """Carry out Msvm_MountedStorageImage.DetachVirtualHardDisk."""
        if call.target is None:
            raise CimFault(WmiCode.INVALID_METHOD_PARAMETERS, "no mounted image is named")
        lun = number(call.target.values, "Lun")
        if self._mounted.pop(lun, None) is None:
            return MethodReply(1)
        self._disks.release(f"mount/{lun}")
        return MethodReply(ReturnCode.COMPLETED)


def mount_reference(row: Row) -> ObjectPath:
    """Return a reference to a mounted image."""
    keys = ("PortNumber", "PathId", "TargetId", "Lun")
    return ObjectPath(
        MOUNTED, tuple((key, str(row.values[key])) for key in keys), NAMESPACE_VIRTUALIZATION
    )


def _claimed_parent(info: vhd.DiskInfo) -> str:
    """Return the path a disk names for a parent that is not there."""
    if info.parent is None or info.parent.absolute_win32_path is None:
        return ""
    return info.parent.absolute_win32_path.removeprefix("\\\\?\\")


def disk_wish(call: MethodCall, *, converting: bool = False) -> DiskWish:
    """Read VirtualDiskSettingData; refuses a disk that Hyper-V cannot make."""
    request = instance(call, "VirtualDiskSettingData")
    values = request.values
    if request.class_name != SETTINGS:
        raise invalid_parameter(f"VirtualDiskSettingData is not a {SETTINGS}")
    path, kind, form = text(values, "Path"), number(values, "Type"), number(values, "Format")
    if not path:
        raise invalid_parameter("Path is missing")
    if kind not in (VhdType.FIXED, VhdType.DYNAMIC, VhdType.DIFFERENCING):
        raise invalid_parameter(f"Type {kind}")
    if form not in (VhdFormat.VHD, VhdFormat.VHDX):
        raise invalid_parameter(f"Format {form}")
    if vhd.format_of_name(path) != form:
        raise invalid_parameter("the file's extension does not fit its format")
    for name in ("LogicalSectorSize", "PhysicalSectorSize"):
        if number(values, name) not in (0, 512, 4096):
            raise invalid_parameter(f"{name} {number(values, name)}")
    _check_size(values, VhdType(kind), VhdFormat(form), converting=converting)
    return DiskWish(
        path,
        vhd.DiskType(kind),
        vhd.DiskFormat(form),
        number(values, "MaxInternalSize"),
        text(values, "ParentPath"),
        number(values, "BlockSize"),
        number(values, "LogicalSectorSize"),
        number(values, "PhysicalSectorSize"),
        text(values, "VirtualDiskId").strip("{}"),
    )


def _check_size(
    values: dict[str, Value], kind: VhdType, form: VhdFormat, *, converting: bool
) -> None:
    size = number(values, "MaxInternalSize")
    if kind is VhdType.DIFFERENCING:
        if not text(values, "ParentPath"):
            raise invalid_parameter("a differencing disk needs ParentPath")
    elif not converting:
        sector = number(values, "LogicalSectorSize") or 512
        if size <= 0 or size % sector or size > LARGEST[form]:
            raise invalid_parameter(f"MaxInternalSize {size}")
