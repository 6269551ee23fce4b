"""Reaching the destination of a live migration: name, listener, and in whose name to log on there.

The source's VMMS speaks to the destination as the *caller*.  With CredSSP it needs the caller's
password, which only a session has that logged on with CredSSP (or at the console); a plain NTLM
session over WinRM has nothing to pass on, which is 0x8009030E.  With Kerberos the source's computer
account must be trusted for delegation to two services of the destination, from Server 2016 on with
any authentication protocol; a destination named by its address has no service principal name.
Nodes of one failover cluster trust each other without any of this.

Sources: Microsoft, "Set up hosts for live migration without failover clustering" and "Troubleshoot
live migration issues" (0x8009030E); 0x80090303 and the socket errors are guesses (winerror.h).
"""

from __future__ import annotations

from cloudstack_hyperv.cim.constants import ReturnCode
from cloudstack_hyperv.emulator.cim.provider import Caller
from cloudstack_hyperv.emulator.host.migration_settings import CREDSSP
from cloudstack_hyperv.emulator.host.outcome import JobFailed
from cloudstack_hyperv.emulator.host.peers import CIFS, MIGRATION_SERVICE, Peer, Peers, is_address

NO_CREDENTIALS = 0x8009030E
TARGET_UNKNOWN = 0x80090303
HOST_NOT_FOUND = 0x80072AF9
TIMED_OUT = 0x8007274C
CONNECTION_REFUSED = 0x8007274D
_WORKGROUP_CLUSTERS_SINCE = 2025
_ANY_PROTOCOL_SINCE = 2016


def connect(
    peers: Peers,
    source: Peer,
    destination_name: str,
    caller: Caller,
    *,
    addresses: tuple[str, ...] = (),
    needs_cifs: bool = False,
) -> Peer:
    """Return the destination, logged on to; raises JobFailed as the source's VMMS would.

    `addresses` are those of the destination's listener that the client chose, () for any.
    """
    destination = peers.find(destination_name)
    if destination is None:
        raise _cannot_connect(destination_name, "No such host is known.", HOST_NOT_FOUND)
    if destination is source:
        raise _cannot_connect(destination_name, "It is the source itself.", 0x80070057)
    if not destination.reachable:
        raise _cannot_connect(
            destination_name,
            "A connection attempt failed because the connected party did not properly respond.",
            TIMED_OUT,
        )
    if not source.settings.enabled:
        raise JobFailed(
            ReturnCode.FAILED,
            f"Live migration is not enabled on '{source.name}' (0x80070032).",
            0x80070032,
        )
    _check_listener(destination, destination_name, addresses)
    if not source.same_cluster(destination):
        _log_on(peers, source, destination, destination_name, caller, needs_cifs=needs_cifs)
    elif not source.same_domain(destination):
        _require_workgroup_cluster(source, destination, destination_name)
    return destination


def _check_listener(destination: Peer, name: str, addresses: tuple[str, ...]) -> None:
    listening = destination.settings.listener_addresses()
    if not listening:
        raise _cannot_connect(
            name,
            "No connection could be made because the target machine actively refused it.",
            CONNECTION_REFUSED,
        )
    if addresses and not set(addresses) & set(listening):
        raise _cannot_connect(
            name,
            "A connection attempt failed because the connected party did not properly respond.",
            TIMED_OUT,
        )


def _require_workgroup_cluster(source: Peer, destination: Peer, name: str) -> None:
    oldest = min(source.site.profile.order, destination.site.profile.order)
    if oldest < _WORKGROUP_CLUSTERS_SINCE:
        raise _cannot_connect(
            name, "The specified target is unknown or unreachable.", TARGET_UNKNOWN
        )


def _log_on(
    peers: Peers,
    source: Peer,
    destination: Peer,
    name: str,
    caller: Caller,
    *,
    needs_cifs: bool,
) -> None:
    if not source.same_domain(destination):
        raise _cannot_connect(
            name, "The specified target is unknown or unreachable.", TARGET_UNKNOWN
        )
    at_the_console = caller.mechanism == "local"
    if source.settings.authentication == CREDSSP:
        if not caller.can_delegate and not at_the_console:
            raise _no_credentials(name)
        return
    delegation = peers.delegations.find(source.name, destination.name)
    services = {MIGRATION_SERVICE, CIFS} if needs_cifs else {MIGRATION_SERVICE}
    if is_address(name) or delegation is None or not services <= delegation.services:
        raise _no_credentials(name)
    brings_ticket = caller.mechanism == "kerberos" or caller.can_delegate or at_the_console
    modern = source.site.profile.order >= _ANY_PROTOCOL_SINCE
    if not delegation.any_protocol and (modern or not brings_ticket):
        raise _no_credentials(name)


def _no_credentials(name: str) -> JobFailed:
    return _cannot_connect(
        name, "No credentials are available in the security package", NO_CREDENTIALS
    )


def _cannot_connect(name: str, reason: str, hresult: int) -> JobFailed:
    return JobFailed(
        ReturnCode.FAILED,
        "The Virtual Machine Management Service failed to establish a connection for a Virtual "
        f"Machine migration with host '{name}': {reason} (0x{hresult:08X}).",
        hresult,
    )
