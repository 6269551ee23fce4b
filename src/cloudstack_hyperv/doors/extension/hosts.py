"""Which host a payload means, and the resource that carries out actions on it.

A host of the configuration is meant when its address (`winrm.address`, `private_address`) or name
is the payload's `url`: then the configuration says how to log in, and the payload's login is not
used.  Any other host is reached with what the payload says, if that is allowed; its connections
are kept for the next call and a changed login replaces the old one.

Files are not touched on this door: the host itself copies and deletes them, so a login is enough.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from cloudstack_hyperv.config import (
    AuthenticationMethod,
    ConfigurationError,
    HostSettings,
    SecretSource,
    Settings,
    WinrmSettings,
)
from cloudstack_hyperv.doors.extension.payload import HostDetails
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.resource import Resource

log = structlog.get_logger(__name__)

MOST_HOSTS: Final = 256
"""Hosts that only payloads know, of which connections are kept."""

MakeResource = Callable[[Settings, HostSettings], Resource]
"""Assembles a resource; raises ConfigurationError."""


@dataclass(slots=True, eq=False)
class _Guest:
    """A host that only payloads know."""

    resource: Resource
    settings: HostSettings
    in_use: int = 0


class ExtensionHosts:
    """Finds or makes the resource for a payload's host."""

    def __init__(
        self,
        configured: Sequence[Resource],
        settings: Settings,
        make: MakeResource,
        *,
        any_host: bool,
    ) -> None:
        self._configured = tuple(configured)
        self._settings = settings
        self._make = make
        self._any_host = any_host
        self._guests: OrderedDict[tuple[str, str, int | None], _Guest] = OrderedDict()
        self._replaced: list[_Guest] = []

    @property
    def configured(self) -> tuple[Resource, ...]:
        """The hosts of the configuration."""
        return self._configured

    def use(self, configured: Sequence[Resource], settings: Settings) -> None:
        """Take over a new configuration; calls under way end with the old one."""
        self._configured, self._settings = tuple(configured), settings

    @contextmanager
    def resource(self, details: HostDetails) -> Iterator[Resource]:
        """Give the block the resource; raises CommandRefused for a host that is not served."""
        wanted = details.address.casefold()
        for resource in self._configured:
            host = resource.context.host
            if wanted in {
                host.name.casefold(),
                host.winrm.address.casefold(),
                (host.private_address or "").casefold(),
            }:
                yield resource
                return
        if not self._any_host:
            raise CommandRefused(
                f"the agent has no host {details.address}; configure it under [[hosts]], or set "
                "extension.any_host = true"
            )
        guest = self._guest(details)
        guest.in_use += 1
        try:
            yield guest.resource
        finally:
            guest.in_use -= 1

    async def close(self) -> None:
        """Close the connections to hosts that only payloads know."""
        guests = [*self._guests.values(), *self._replaced]
        self._guests.clear()
        self._replaced.clear()
        for guest in guests:
            await guest.resource.context.cim.close()

    async def trim(self) -> None:
        """Close connections with logins that changed, and those not used for long if many."""
        for guest in [guest for guest in self._replaced if not guest.in_use]:
            self._replaced.remove(guest)
            await guest.resource.context.cim.close()
        for key in [key for key, guest in self._guests.items() if not guest.in_use]:
            if len(self._guests) <= MOST_HOSTS:
                return
            await self._guests.pop(key).resource.context.cim.close()

    def _guest(self, details: HostDetails) -> _Guest:
        settings = host_settings(details)
        key = (details.address.casefold(), settings.winrm.transport, details.port)
        guest = self._guests.get(key)
        if guest is None or guest.settings != settings:
            # Another login is another client: calls under way keep theirs until they end.
            before = guest
            try:
                guest = _Guest(self._make(self._settings, settings), settings)
            except ConfigurationError as error:
                raise CommandRefused(str(error)) from None
            if before is not None:
                self._replaced.append(before)
                guest.resource.ordering = before.resource.ordering
                log.info("another login from now on", host=details.address)
            self._guests[key] = guest
        self._guests.move_to_end(key)
        return guest


def host_settings(details: HostDetails) -> HostSettings:
    """Return the settings of a host that a payload describes; raises CommandRefused."""
    try:
        method = AuthenticationMethod(details.authentication)
    except ValueError:
        raise CommandRefused(
            f"authentication {details.authentication[:40]!r} is none of negotiate, ntlm, kerberos"
        ) from None
    if method in (AuthenticationMethod.BASIC, AuthenticationMethod.CERTIFICATE):
        raise CommandRefused(
            f"authentication {method} is possible for configured hosts only, not by a payload"
        )
    if not details.username or details.password is None:
        raise CommandRefused(
            f"host {details.address}: username and password are needed among its details"
        )
    return HostSettings(
        name=details.address,
        winrm=WinrmSettings(
            address=details.address,
            port=details.port,
            transport="https" if details.https else "http",
            authentication=method,
            user=details.username,
            password=SecretSource(value=details.password.reveal()),
            certificate_fingerprint=details.certificate_fingerprint,
            verify_certificate=details.verify_certificate,
        ),
        offer_local_pool=False,
    )
