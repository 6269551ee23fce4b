"""TOML before agent.properties before the default."""

from pathlib import Path
from typing import Any

import pytest

from cloudstack_hyperv.config import ConfigurationError, Settings, settings_from
from cloudstack_hyperv.doors.agent.configuration import (
    AgentConfiguration,
    HostWasRemoved,
    agent_configuration,
    name_based_uuid,
)

WINRM = {"address": "10.1.1.20", "user": "u", "password": {"value": "p"}}


def settings(agent: dict[str, Any], *hosts: dict[str, Any]) -> Settings:
    named = [
        {"name": f"hv{number}", "winrm": WINRM, **host} for number, host in enumerate(hosts, 1)
    ]
    return settings_from({"agent": agent, "hosts": named})


def configured(agent: dict[str, Any], host: dict[str, Any] | None = None) -> AgentConfiguration:
    whole = settings(agent, host or {})
    return agent_configuration(whole, whole.hosts[0], 0)[0]


def with_file(tmp_path: Path, text: str, **agent: Any) -> AgentConfiguration:
    path = tmp_path / "agent.properties"
    path.write_text(text)
    return configured({"properties": str(path), **agent})


def test_defaults() -> None:
    one = configured({"servers": ["ms1"]})
    assert str(one.servers) == "ms1@static"
    assert (one.port, one.zone, one.pod, one.cluster) == (8250, "default", "default", "default")
    assert (one.workers, one.ping_retries, one.backoff) == (50, 3, 5)
    assert one.limits.handshake == 30
    assert one.preferred_check_interval is None
    assert one.private_address == "10.1.1.20"


def test_the_file_of_a_kvm_agent(tmp_path: Path) -> None:
    one = with_file(
        tmp_path,
        "guid=f2c1a8de-0b7d-4e7a-9b1e-3b6f6c1f2a10\nhost=ms1,ms2@shuffle\nport=9250\nzone=1\n"
        "pod=2\ncluster=3\nworkers=5\nping.retries=4\nbackoff.seconds=7\n"
        "host.lb.check.interval=0\nssl.handshake.timeout=11\nprivate.ip.address=10.9.9.9\n",
    )
    assert str(one.servers) == "ms1,ms2@shuffle"
    assert one.full_guid == "f2c1a8de-0b7d-4e7a-9b1e-3b6f6c1f2a10-HypervResource"
    assert (one.port, one.zone, one.pod, one.cluster) == (9250, "1", "2", "3")
    assert (one.workers, one.ping_retries, one.backoff) == (5, 4, 7)
    assert one.preferred_check_interval == 0
    assert one.limits.handshake == 11
    assert one.private_address == "10.9.9.9"
    assert one.certificates == tmp_path


def test_toml_wins(tmp_path: Path) -> None:
    one = with_file(
        tmp_path,
        "host=ms9\nport=9250\nzone=9\nworkers=5\nping.retries=4\nbackoff.seconds=7\n",
        servers=["ms1"],
        port=8250,
        zone="1",
        workers=2,
        ping_retries=9,
        backoff=1.5,
    )
    assert str(one.servers) == "ms1@static"
    assert (one.port, one.zone, one.workers, one.ping_retries) == (8250, "1", 2, 9)
    assert one.backoff == 1.5


def test_the_host_s_table_wins_over_the_common_one() -> None:
    one = configured(
        {"servers": ["ms1"], "zone": "1", "pod": "1"}, {"agent": {"pod": "7", "guid": "g"}}
    )
    assert (one.zone, one.pod, one.guid) == ("1", "7", "g")


@pytest.mark.parametrize(
    ("guid", "expected"),
    [
        ("generate_from_private.ip.address", "10.70.176.29"),
        ("generate_from_local.storage.path", "E:\\Disks"),
    ],
)
def test_guids_made_from_another_property(tmp_path: Path, guid: str, expected: str) -> None:
    text = (
        f"host=ms\nguid={guid}\nprivate.ip.address=10.70.176.29\nlocal.storage.path=E\\:\\\\Disks\n"
    )
    assert with_file(tmp_path, text).guid == name_based_uuid(expected)


def test_name_based_uuids_are_java_s() -> None:
    # UUID.nameUUIDFromBytes("10.70.176.29".getBytes()); RFC 4122 version 3 without a name space.
    made = name_based_uuid("10.70.176.29")
    assert made[14] == "3"
    assert made[19] in "89ab"
    assert name_based_uuid("") == "d41d8cd9-8f00-3204-a980-0998ecf8427e"


def test_a_tail_that_was_copied_along_is_not_doubled() -> None:
    one = configured({"servers": ["m"]}, {"agent": {"guid": "abc-HypervResource"}})
    assert one.full_guid == "abc-HypervResource"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("zone=1\n", "no management server"),
        ("host=@MSHOST@\n", "template"),
        ("host=ms\nworkers=many\n", "workers must be a whole number"),
        ("host=ms\nport=-1\n", "port must be"),
        ("host=ms\nguid=generate_from_nothing\n", "no property nothing"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(ConfigurationError, match=word):
        with_file(tmp_path, text)


def test_templates_that_nobody_filled_in_are_defaults(tmp_path: Path) -> None:
    one = with_file(tmp_path, "host=ms\nzone=@ZONE@\npod=@POD@\n")
    assert (one.zone, one.pod) == ("default", "default")


def test_a_removed_host_does_not_add_itself_again(tmp_path: Path) -> None:
    with pytest.raises(HostWasRemoved, match="zone"):
        with_file(tmp_path, "host=ms\nzone=\npod=\ncluster=\n")


def test_several_hosts_spread_over_the_servers(tmp_path: Path) -> None:
    whole = settings(
        {"servers": ["a", "b", "c"], "algorithm": "roundrobin"},
        *({"agent": {"properties": str(tmp_path / f"{n}.properties")}} for n in range(4)),
    )
    firsts = [
        agent_configuration(whole, host, position)[0].servers.servers[0]
        for position, host in enumerate(whole.hosts)
    ]
    assert firsts == ["a", "b", "c", "a"]
    prefixes = {agent_configuration(whole, host, 0)[0].certificate_prefix for host in whole.hosts}
    assert len(prefixes) == 4


@pytest.mark.parametrize(
    ("agent", "word"),
    [
        ({"algorithm": "random"}, "roundrobin"),
        ({"certificate": "x"}, "belong together"),
        ({"server_fingerprints": ["abc"]}, "SHA-256"),
        ({"properties": "x"}, "hosts.agent.properties"),
        ({"serverz": []}, "did you mean servers?"),
        ({"workers": 0}, "workers"),
    ],
)
def test_the_table_is_checked(agent: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigurationError, match=word.replace("?", r"\?")):
        settings({"servers": ["m"], **agent}, {}, {})
