"""What it takes to show that a method changes something: flip a value, read it back, restore it.

A *scene* builds what one method needs on a `Bench` and returns a `Trip`.  `read` must not ask the
method's own answer but a row, a file or what the guest received; `restore` brings the value back to
what it was, with other methods where the method has no opposite.  Scenes register themselves
with `writes`; test_every_writing_method.py plays them and finds methods that have none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from tests.emulator_host.driver import CALLER, V2, system_path
from tests.emulator_migration.fleet_driver import FleetDriver, HostDriver

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.operations import Operation, OperationKind
from cloudstack_hyperv.emulator.cim.provider import MethodReply, Row, Value

VSSD = "Msvm_VirtualSystemSettingData"
CIMV2 = "root/cimv2"


@dataclass(frozen=True, slots=True)
class Trip:
    """How to read a value, change it with one method, and bring it back."""

    read: Callable[[], Awaitable[object]]
    flip: Callable[[], Awaitable[object]]
    restore: Callable[[], Awaitable[object]]


class Bench:
    """Two hosts of one cluster, whose answers are noted."""

    def __init__(self, folder: Path) -> None:
        self.fleet = FleetDriver(folder, 2, cluster=True)
        self.host, self.other = self.fleet.hosts
        self.answers: list[tuple[str, str, object]] = []
        """Class, method and ReturnValue of every call that was answered without a fault."""
        for driver in self.fleet.hosts:
            driver.engine.interceptors.append(self)

    async def before(self, operation: Operation) -> MethodReply | None:
        """Let every operation pass."""
        del operation
        return None

    async def after(
        self, operation: Operation, result: object, error: BaseException | None
    ) -> None:
        """Note what a method answered."""
        if operation.kind is OperationKind.INVOKE and error is None:
            assert isinstance(result, MethodReply)
            self.answers.append((operation.class_name, operation.method, result.return_value))

    async def value(self, class_name: str, instance_id: str, name: str) -> Value:
        """Return a property of a row keyed by InstanceID."""
        row = await self.host.engine.get(V2, class_name, {"InstanceID": instance_id})
        return row.values.get(name)

    async def count(self, class_name: str, host: HostDriver | None = None) -> int:
        """Return how many rows a class has."""
        return len(await (host or self.host).rows(class_name))

    async def invoke(
        self, namespace: str, class_name: str, keys: dict[str, str], method: str, **args: Value
    ) -> MethodReply:
        """Call a method of any namespace on the first host."""
        return await self.host.engine.invoke(namespace, class_name, keys, method, args, CALLER)

    async def power_cycle(self, guid: str) -> None:
        """Turn a machine off and on."""
        assert await self.host.state(guid, 3) == 0
        await self.host.start(guid)
        self.host.clock.advance(20)

    async def running(self, name: str = "web") -> str:
        """Return a machine whose guest has booted."""
        guid = await self.host.define(name)
        await self.host.start(guid)
        self.host.clock.advance(20)
        return guid

    def created(self, reply: MethodReply, name: str) -> ObjectPath:
        """Return the reference an out parameter holds."""
        path = reply.out[name]
        found = path[0] if isinstance(path, list) else path
        assert isinstance(found, ObjectPath)
        return found


Scene = Callable[[Bench], Awaitable[Trip]]
SCENES: dict[tuple[str, str], Scene] = {}


def writes(class_name: str, method: str) -> Callable[[Scene], Scene]:
    """Register the scene of a method."""

    def register(scene: Scene) -> Scene:
        assert (class_name, method) not in SCENES, "two scenes for one method"
        SCENES[class_name, method] = scene
        return scene

    return register


def system_settings(guid: str, **values: Value) -> Row:
    """Return settings of a machine with what is to change."""
    return Row(VSSD, {"InstanceID": f"Microsoft:{guid}", **values})


def path_of(row: Row, key: str = "InstanceID") -> ObjectPath:
    """Return a reference to a row with one key."""
    return ObjectPath.of(row.class_name, **{key: str(row.values[key])})


__all__ = ["CIMV2", "SCENES", "VSSD", "Bench", "Trip", "path_of", "system_path", "writes"]
