"""Dell's python-wsmanclient, unchanged, against a whole emulated host."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.emulation import PASSWORD, USER, running_emulation
from wsmanclient import client, exceptions

BASE = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/"
V2 = BASE + "virtualization/v2/"
VSMS = V2 + "Msvm_VirtualSystemManagementService"
KEY = {"CreationClassName": "Msvm_VirtualSystemManagementService"}


def conversation(port: int) -> None:
    wsman = client.Client("127.0.0.1", USER, PASSWORD, port=port, protocol="http")

    def items(answer: Any, uri: str) -> list[Any]:
        return list(answer.iter(f"{{{uri}}}{uri.rpartition('/')[2]}"))

    services = BASE + "cimv2/Win32_Service"
    plain = items(wsman.enumerate(services, optimization=False), services)
    assert len(plain) > 2
    optimised = items(wsman.enumerate(services, optimization=True, max_elems=100), services)
    assert len(optimised) == len(plain)
    by_wql = wsman.enumerate(
        BASE + "cimv2/*",
        filter_query="SELECT * FROM Win32_Service WHERE Name = 'vmms'",
        filter_dialect="wql",
    )
    assert len(items(by_wql, services)) == 1
    # It knows CQL too, DMTF's query language, which Windows has not.
    with pytest.raises(exceptions.InvalidResponse):
        wsman.enumerate(BASE + "cimv2/*", filter_query="SELECT * FROM Win32_Service")

    for method in ("DefineSystem", "GetSummaryInformation"):
        answer = wsman.invoke(VSMS, method, KEY, {})
        assert answer.findtext(f".//{{{VSMS}}}ReturnValue") in ("0", "4096")
    system = V2 + "Msvm_ComputerSystem"
    machines = items(wsman.enumerate(system, optimization=False), system)
    names = [each.findtext(f"{{{system}}}ElementName") for each in machines]
    assert names == ["New Virtual Machine", "HYPERV1"]
    key = {
        "CreationClassName": "Msvm_ComputerSystem",
        "Name": machines[0].findtext(f"{{{system}}}Name"),
    }
    for state, code in (("3", "32775"), ("2", "0"), ("77", "32773")):
        answer = wsman.invoke(system, "RequestStateChange", key, {"RequestedState": state})
        assert answer.findtext(f".//{{{system}}}ReturnValue") == code
    with pytest.raises(exceptions.InvalidResponse):
        wsman.invoke(V2 + "Msvm_NoSuchClass", "X", {}, {})
    wrong = client.Client("127.0.0.1", USER, "wrong", port=port, protocol="http")
    with pytest.raises(exceptions.InvalidResponse):
        wrong.enumerate(services)


async def test_its_calls_are_served(tmp_path: Path) -> None:
    from cloudstack_hyperv.emulator.host import JobMode

    async with running_emulation(tmp_path, job_mode=JobMode.ALWAYS_0) as emulation:
        await asyncio.to_thread(conversation, emulation.port)
