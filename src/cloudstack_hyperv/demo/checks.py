"""What must be true after a step of the demonstration, said in words where it is not.

A check is given the reply, and what the host showed before and after; it returns what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cloudstack_hyperv.demo import conversation as say
from cloudstack_hyperv.demo.management_server import Reply
from cloudstack_hyperv.demo.observer import Snapshot
from cloudstack_hyperv.demo.stage import Stage, same_content

Check = Callable[[Reply, Snapshot, Snapshot], list[str]]
"""(reply, before, after) -> what is not as it should be."""


def answers(answer_class: str, **fields: object) -> Check:
    """The reply is this class with `result` true and these fields."""

    def check(reply: Reply, _before: Snapshot, _after: Snapshot) -> list[str]:
        wrong = []
        if reply.status != 200:
            wrong.append(f"HTTP status {reply.status}")
        if reply.answer_class != answer_class:
            wrong.append(f"answer class {reply.answer_class or 'missing'}, not {answer_class}")
        elif reply.answer.get("result") is not True:
            wrong.append(f"result false: {reply.answer.get('details')}")
        wrong += [
            f"{name} is {reply.answer.get(name)!r}, not {value!r}"
            for name, value in fields.items()
            if reply.answer.get(name) != value
        ]
        return wrong

    return check


def shows(thing: str) -> Check:
    """The host shows this afterwards."""
    return lambda _reply, _before, after: [] if thing in after else [f"{thing} is missing"]


def lacks(thing: str) -> Check:
    """The host does not show this afterwards."""
    return lambda _reply, _before, after: [f"{thing} is still there"] if thing in after else []


def is_now(thing: str, how: str) -> Check:
    """The host shows this thing like that afterwards."""
    return lambda _reply, _before, after: (
        [] if after.get(thing) == how else [f"{thing} is {after.get(thing)!r}, not {how!r}"]
    )


def counts(part: str, wanted: int) -> Check:
    """So many things have `part` in their name afterwards."""

    def check(_reply: Reply, _before: Snapshot, after: Snapshot) -> list[str]:
        found = sum(part in thing for thing in after)
        return [] if found == wanted else [f"{found} of '{part.strip(': ')}', not {wanted}"]

    return check


def content_of_root(stage: Stage, install_path: str) -> Check:
    """The volume, read back, equals the template and has the size that was asked for."""

    def check(_reply: Reply, _before: Snapshot, _after: Snapshot) -> list[str]:
        pool = stage.local_path(stage.zone.pool_path)
        return same_content(
            stage.template, pool / f"{say.ROOT_UUID}.vhdx", stage.zone.root_size
        ) + same_content(stage.template, pool / f"{install_path}.vhdx", stage.zone.template_size)

    return check


def started_up(stage: Stage) -> Check:
    """Startup answers two commands, echoes the six fields, and fills in what the host has."""

    def check(reply: Reply, _before: Snapshot, _after: Snapshot) -> list[str]:
        if reply.status != 200 or not isinstance(reply.body, list) or len(reply.body) != 2:
            return [f"status {reply.status}, not two commands"]
        routing = reply.body[0].get(f"{say.AGENT}StartupRoutingCommand", {})
        sent = say.startup(stage.zone)[0][f"{say.AGENT}StartupRoutingCommand"]
        wrong = [
            f"{name} came back as {routing.get(name)!r}"
            for name in ("dataCenter", "pod", "cluster", "guid", "name", "privateIpAddress")
            if routing.get(name) != sent[name]
        ]
        wrong += [
            f"{name} is {routing.get(name)!r}"
            for name in ("cpus", "speed", "memory", "privateNetmask", "privateMacAddress")
            if not routing.get(name)
        ]
        details = routing.get("hostDetails", {})
        if routing.get("hypervisorVersion") != "6.2" or details.get("product_version") != "6.2":
            wrong.append("hypervisorVersion and product_version are not both 6.2")
        if details.get("emulated") != "true":
            wrong.append("hostDetails does not say emulated=true")
        if not pool_of(reply).get("uuid"):
            wrong.append("no local pool is offered")
        return wrong

    return check


def pool_has_space(reply: Reply, _before: Snapshot, _after: Snapshot) -> list[str]:
    """The pool's capacity and path are filled in."""
    pool = reply.answer.get("poolInfo") or {}
    good = pool.get("localPath") and 0 < pool.get("availableBytes", 0) <= pool["capacityBytes"]
    return [] if good else [f"poolInfo is {pool}"]


def reports_power_on(reply: Reply, _before: Snapshot, _after: Snapshot) -> list[str]:
    """The state report names the one VM, powered on."""
    wanted = [{say.VM_NAME: "PowerOn"}]
    return [] if reply.body == wanted else [f"report is {reply.body}, not {wanted}"]


def host_has_load(reply: Reply, _before: Snapshot, _after: Snapshot) -> list[str]:
    """Host CPU is measured, never 0 on the first poll, and memory is in KB."""
    stats = reply.answer.get("hostStats") or {}
    good = 0 < stats.get("cpuUtilization", 0) <= 100
    good = good and 0 < stats.get("freeMemoryKBs", 0) < stats.get("totalMemoryKBs", 0)
    return [] if good else [f"hostStats is {stats}"]


def vm_has_statistics(reply: Reply, _before: Snapshot, _after: Snapshot) -> list[str]:
    """The VM's figures are there, in the units CloudStack reads."""
    stats = (reply.answer.get("vmStatsMap") or {}).get(say.VM_NAME, {})
    good = stats.get("numCPUs") == 2 and stats.get("memoryKBs") == 1024 * 1024
    return [] if good else [f"vmStatsMap has {stats}"]


def pool_is_used(reply: Reply, _before: Snapshot, _after: Snapshot) -> list[str]:
    """Both spellings of the pool's figures are there and agree."""
    answer = reply.answer
    good = (
        0 < answer.get("usedBytes", 0) < answer.get("capacityBytes", 0)
        and answer.get("used") == answer.get("usedBytes")
        and answer.get("capacity") == answer.get("capacityBytes")
    )
    return [] if good else [f"answer is {answer}"]


def new_data(reply: Reply) -> dict[str, Any]:
    """Return the object that a copy made."""
    wrapped = reply.answer.get("newData") or {}
    return next(iter(wrapped.values()), {})


def pool_of(reply: Reply) -> dict[str, Any]:
    """Return the local pool that Startup offers."""
    if not isinstance(reply.body, list) or len(reply.body) < 2:
        return {}
    storage = reply.body[1].get(f"{say.AGENT}StartupStorageCommand", {})
    return storage.get("poolInfo") or {}


def plain_mac(mac: str) -> str:
    """Return a MAC as Hyper-V shows it."""
    return mac.replace(":", "").upper()
