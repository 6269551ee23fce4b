"""The scenarios in the order in which they are played, and what each needs and makes.

A scenario that needs another's result is skipped when that one failed; one that only found a
difference goes on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from cloudstack_hyperv.fieldwork.selftest.expectations import Findings
from cloudstack_hyperv.fieldwork.selftest.scenarios import (
    checkpoints,
    disks,
    first_generation,
    host,
    networks,
    power,
    second_generation,
)
from cloudstack_hyperv.fieldwork.selftest.stage import Stage
from cloudstack_hyperv.hypervisor.release import SERVER_2012_R2, SERVER_2016


@dataclass(frozen=True, slots=True)
class Scenario:
    """One part of the self-test."""

    name: str
    title: str
    play: Callable[[Stage, Findings], Awaitable[None]]
    needs: tuple[str, ...] = ()
    makes: str = ""
    """What it leaves for later scenarios, in words for the plan; removed at the end."""
    from_build: int = 0


PROGRAMME: Final = (
    Scenario("identity", "WinRM says who it is", host.play_identity),
    Scenario("inventory", "what the agent reads at its connect", host.play_inventory),
    Scenario("requests", "requests that sources disagree about", host.play_requests),
    Scenario(
        "disks",
        "make virtual disks and read them",
        disks.play_create,
        makes="base.vhdx (64 MiB, dynamic), fixed.vhd (64 MiB, fixed)",
    ),
    Scenario("resize", "grow a disk", disks.play_resize, ("disks",)),
    Scenario(
        "chain",
        "differencing disk, flattened and converted",
        disks.play_chain,
        ("resize",),
        "child.vhdx, copy.vhdx, copy.vhd (128 MiB, fixed)",
    ),
    Scenario(
        "switch",
        "make a private switch",
        networks.play_switch,
        makes="a private switch; no network card of the host is touched",
    ),
    Scenario(
        "gen1",
        "define a generation 1 machine",
        first_generation.play_define,
        ("switch",),
        "a machine (1 processor, 256 MiB), root1.vhdx, data1.vhdx, extra1.vhdx",
    ),
    Scenario(
        "port", "VLAN, bandwidth, guards, ACLs of its port", first_generation.play_port, ("gen1",)
    ),
    Scenario(
        "media", "ISO and disk, in and out", first_generation.play_media, ("gen1",), "empty.iso"
    ),
    Scenario("states", "start, pause, save, reset", power.play_states, ("gen1",)),
    Scenario("views", "summary and thumbnail", power.play_views, ("states",)),
    Scenario("key-values", "key-value pairs for the guest", power.play_key_values, ("states",)),
    Scenario("hot-disk", "a disk while the machine runs", power.play_hot_disk, ("states", "media")),
    Scenario("checkpoint", "take two checkpoints", checkpoints.play_take, ("states",)),
    Scenario("apply", "go back to the first", checkpoints.play_apply, ("checkpoint",)),
    Scenario("delete", "delete both, merge the disks", checkpoints.play_delete, ("checkpoint",)),
    Scenario("destroy", "remove the machine, not its disks", power.play_destroy, ("gen1",)),
    Scenario(
        "gen2",
        "define and start a generation 2 machine",
        second_generation.play_define,
        ("switch",),
        "a second machine (1 processor, 256 MiB), root2.vhdx",
        SERVER_2012_R2,
    ),
    Scenario(
        "hot-nic",
        "a NIC while the machine runs",
        second_generation.play_hot_adapter,
        ("gen2",),
        from_build=SERVER_2016,
    ),
    Scenario("destroy2", "remove the second machine", second_generation.play_destroy, ("gen2",)),
)
