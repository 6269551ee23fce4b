"""The hosts that an agent serves, and how the list changes while it serves.

A host that stays as it is keeps its connections, its caches and its running commands.  One whose
login alone changed (in the configuration, or in a password's file) keeps them too and logs in anew
with the next connection.  Any other change makes a new host of it: commands that run end with the
old one, and the two share their order, so that no two commands for one VM run at once.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import msgspec
import structlog

from cloudstack_hyperv.cli.assembly import Part, addresses_of, assemble, credentials_of
from cloudstack_hyperv.config import ConfigurationError, HostSettings, Settings, WinrmSettings
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.resource import Resource
from cloudstack_hyperv.wsman import Credentials

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Member:
    part: Part
    credentials: Credentials = field(repr=False)


class Fleet:
    """The assembled hosts of a configuration."""

    def __init__(self, settings: Settings) -> None:
        """Assemble all hosts, unconnected; raises ConfigurationError."""
        self.settings = settings
        self._peers: dict[str, HostContext] = {}
        self._members: dict[str, _Member] = {
            host.name: self._made(settings, host) for host in settings.hosts
        }
        self._find_peers()

    @property
    def resources(self) -> list[Resource]:
        """The hosts' resources, in the order of the configuration."""
        return [self._members[host.name].part.resource for host in self.settings.hosts]

    def use(self, settings: Settings) -> list[Part]:
        """Take over another configuration and return the parts to close when they are at rest.

        Raises ConfigurationError and changes nothing then.
        """
        kept: dict[str, tuple[_Member, Credentials, HostSettings]] = {}
        made: dict[str, _Member] = {}
        for host in settings.hosts:
            member = self._members.get(host.name)
            if member is not None and _is_same_but_login(member, host, self.settings, settings):
                kept[host.name] = (member, _checked_login(member, host), host)
            else:
                made[host.name] = self._made(settings, host)
        retired = [member for name, member in self._members.items() if name not in kept]
        for member, credentials, host in kept.values():
            _keep(member, credentials, host, settings)
        for name, member in made.items():
            before = self._members.get(name)
            if before is not None:
                member.part.resource.ordering = before.part.resource.ordering
        self._members = {name: member for name, (member, _, _) in kept.items()} | made
        self.settings = settings
        self._find_peers()
        log.info(
            "hosts changed",
            kept=sorted(kept),
            made=sorted(made),
            removed=sorted(m.part.resource.context.host.name for m in retired),
        )
        return [member.part for member in retired]

    async def close(self) -> None:
        """Close the connections to all hosts."""
        for member in self._members.values():
            await member.part.close()

    def __repr__(self) -> str:
        return f"Fleet({', '.join(self._members)})"

    def _made(self, settings: Settings, host: HostSettings) -> _Member:
        credentials = credentials_of(host)
        return _Member(assemble(settings, host, self._peers), credentials)

    def _find_peers(self) -> None:
        self._peers.clear()
        for resource in self.resources:
            for address in addresses_of(resource.context):
                self._peers[address] = resource.context


def _is_same_but_login(
    member: _Member, host: HostSettings, before: Settings, now: Settings
) -> bool:
    was = member.part.resource.context.host
    if _without_login(was) != _without_login(host) or before.storage != now.storage:
        return False
    # Files by SMB may use the same login, and keep it.
    return host.smb is None or credentials_of(host) == member.credentials


def _checked_login(member: _Member, host: HostSettings) -> Credentials:
    """Return the new login if it can be used on this host; raises ConfigurationError."""
    credentials = credentials_of(host)
    try:
        member.part.client.check_credentials(credentials)
    except ValueError as error:
        raise ConfigurationError(f"host {host.name}: winrm: {error}") from error
    return credentials


def _keep(member: _Member, credentials: Credentials, host: HostSettings, now: Settings) -> None:
    if credentials != member.credentials:
        log.info("another login from now on", host=host.name)
        member.part.client.use_credentials(credentials)
        member.credentials = credentials
    resource = member.part.resource
    resource.context = dataclasses.replace(resource.context, settings=now, host=host)


def _without_login(host: HostSettings) -> HostSettings:
    empty = WinrmSettings(address="")
    winrm = msgspec.structs.replace(
        host.winrm,
        user=empty.user,
        password=empty.password,
        authentication=empty.authentication,
        client_certificate=None,
        client_key=None,
    )
    return msgspec.structs.replace(host, winrm=winrm)
