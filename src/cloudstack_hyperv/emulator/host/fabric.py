"""The host's virtual switches as switches that forward frames.

A host whose frames nobody moves has none of this: the fabric is built when the first frame is sent
or the first end attached.  From then on it follows the model: ports come with the machines that
start and go with those that stop, and what a client sets applies to the next frame.  A port is
known by its GUID, the Name of its Msvm_EthernetSwitchPort; an adapter that moves to another switch
keeps port and counters.

Frames go in by `send` and come out at the ends that were attached: a guest's network card, the
host itself, a physical card's cable (two hosts are wired by attaching each other's `send`).  A
switch with several physical cards uses the first, the others stand by.
"""

from __future__ import annotations

from collections.abc import Callable

from cloudstack_hyperv.emulator.cim.provider import Row
from cloudstack_hyperv.emulator.host.clock import NEVER
from cloudstack_hyperv.emulator.host.config import SwitchKind
from cloudstack_hyperv.emulator.host.machine import Machine
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.port_settings import port_settings
from cloudstack_hyperv.emulator.host.site import Site, number
from cloudstack_hyperv.emulator.host.switch_rows import Cable, SwitchRows, port_guid
from cloudstack_hyperv.emulator.host.switches import Switches
from cloudstack_hyperv.emulator.switch import (
    Delivery,
    Direction,
    EthernetSwitch,
    PortCounters,
    PortKind,
    PortSettings,
)

Receiver = Callable[[bytes], None]


class Fabric:
    """Frames of one host."""

    def __init__(
        self, site: Site, machines: Machines, switches: Switches, rows: SwitchRows
    ) -> None:
        self._site = site
        self._machines = machines
        self._virtual = switches
        self._rows = rows
        self._switches: dict[str, EthernetSwitch] = {}
        self._plugged: dict[str, EthernetSwitch] = {}
        self._receivers: dict[str, Receiver] = {}
        self._live = self._stale = False

    @property
    def is_live(self) -> bool:
        """Whether frames move here, so that counters are counts and not a script's."""
        return self._live

    # Ends ----------------------------------------------------------------------------------

    def attach(self, port: str, receive: Receiver) -> None:
        """Give every frame that comes out at a port to `receive`; the port may come later."""
        self._follow()
        self._receivers[port] = receive

    def detach(self, port: str) -> None:
        """Forget the end of a port."""
        self._receivers.pop(port, None)

    def send(self, port: str, frame: bytes) -> list[Delivery]:
        """Put a frame in at a port; return where it came out.

        A port that is not there (its machine is off, its cable is out) swallows the frame.
        """
        self.refresh()
        switch = self._plugged.get(port)
        if switch is None:
            return []
        now = (self._site.timeline.now() - NEVER).total_seconds()
        delivered = switch.forward(frame, port, now)
        for name, copy in delivered:
            receive = self._receivers.get(name)
            if receive is not None:
                receive(copy)
        return delivered

    # What clients read ---------------------------------------------------------------------

    @property
    def ports(self) -> list[str]:
        """GUIDs of the ports that are there now."""
        self.refresh()
        return list(self._plugged)

    def settings(self, port: str) -> PortSettings:
        """Return the settings in force at a port; KeyError."""
        self.refresh()
        return self._plugged[port].settings(port)

    def counters(self, port: str) -> PortCounters:
        """Return what a port counted; zeros when it is not there."""
        self.refresh()
        switch = self._plugged.get(port)
        return switch.counters(port) if switch is not None else PortCounters()

    def metered(self, machine: Machine, direction: Direction) -> int:
        """Return the bytes that a machine's meter ACLs of a direction have counted."""
        if not self._live:
            return 0
        total = 0
        for nic in machine.settings.nics:
            for connection in machine.settings.children(str(nic.values["InstanceID"])):
                counted = self.counters(port_guid(connection)).metered
                for row in machine.settings.features_of(str(connection.values["InstanceID"])):
                    if number(row.values, "Direction") == direction:
                        total += counted.get(str(row.values["InstanceID"]), 0)
        return total

    # Following the model -------------------------------------------------------------------

    def _follow(self) -> None:
        if not self._live:
            self._live = self._stale = True
            self._machines.changed.append(self._forget)
            self._machines.removed.append(self._forget)
            self._virtual.changed.append(self._forget)

    def _forget(self, _: Machine | None = None) -> None:
        self._stale = True

    def refresh(self) -> None:
        """Let what is due happen, and bring the ports up to date."""
        self._follow()
        self._site.timeline.settle()
        if self._stale:
            self._stale = False
            self._rebuild()

    def _rebuild(self) -> None:
        wanted = self._wanted()
        kept: dict[str, PortCounters] = {}
        for port, switch in list(self._plugged.items()):
            if port not in wanted or wanted[port][0] is not switch:
                kept[port] = switch.counters(port)
                switch.unplug(port)
                del self._plugged[port]
        for port, (switch, settings) in wanted.items():
            if port not in self._plugged:
                switch.plug(port, settings, kept.get(port))
                self._plugged[port] = switch
            elif switch.settings(port) != settings:
                switch.configure(port, settings)

    def _wanted(self) -> dict[str, tuple[EthernetSwitch, PortSettings]]:
        self._switches = {
            virtual.guid: self._switches.get(virtual.guid)
            or EthernetSwitch(number(virtual.settings.values, "MaxNumMACAddress"))
            for virtual in self._virtual
        }
        wanted: dict[str, tuple[EthernetSwitch, PortSettings]] = {}
        with_uplink: set[str] = set()
        for cable in self._rows.cables():
            kind = self._kind(cable)
            if kind is PortKind.UPLINK:
                if cable.switch.guid in with_uplink:
                    continue
                with_uplink.add(cable.switch.guid)
            settings = port_settings(kind, cable.mac, _features(cable))
            wanted[cable.port_guid] = (self._switches[cable.switch.guid], settings)
        return wanted

    def _kind(self, cable: Cable) -> PortKind:
        if cable.machine is not None:
            return PortKind.MACHINE
        external = self._virtual.own_port_kind(cable.connection) is SwitchKind.EXTERNAL
        return PortKind.UPLINK if external else PortKind.HOST


def _features(cable: Cable) -> list[Row]:
    instance_id = str(cable.connection.values["InstanceID"])
    if cable.machine is not None:
        return cable.machine.settings.features_of(instance_id)
    prefix = instance_id.upper() + "\\"
    return [row for key, row in cable.switch.features.items() if key.startswith(prefix)]
