"""Real guests for an emulated host: a generation 1 machine boots from its disk under QEMU.

Optional: without `qemu-system-x86_64` the emulated host plays its guests from scripts.  What a
real guest cannot do here is refused and never pretended: saving, checkpoints, migration, export
and changes of storage while it runs, disks that stand on a parent, generation 2.
"""

from cloudstack_hyperv.emulator.guests.engine import QemuEngine
from cloudstack_hyperv.emulator.guests.probe import EngineUnavailable, Qemu, find_qemu

__all__ = ["EngineUnavailable", "Qemu", "QemuEngine", "find_qemu"]
