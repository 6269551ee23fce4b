r"""Global SMB mappings: one login to a share that everyone on the host may use.

VMMS opens a share as the computer account, a process of a caller has nothing to log in with (see
`files`).  Where neither is on the share's access list, `MSFT_SmbGlobalMapping.Create` with an
account that is lets both in, until `Remove`.  The file server decides: the password must be one
of `Share.logins` and the account on the access list.  A mapping lives as long as the emulation;
Persistent ones are not kept on disk.

`MSFT_SmbMapping` has no rows: its mappings belong to one logon session, and that of a WinRM call
ends with it.

Sources: Microsoft's pages MSFT_SmbMapping and its Create (parameters, Status), New-SmbGlobalMapping
("allow all users to use the same mapping").  That failures come as a WMI fault with the code of
Win32 is client code (kubernetes-csi/csi-proxy matches "Windows System Error"); which code a second
mapping of a share gives is a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from cloudstack_hyperv.cim.constants import NAMESPACE_SMB
from cloudstack_hyperv.emulator.cim.provider import CimFault, MethodCall, MethodReply, Row, WmiCode
from cloudstack_hyperv.emulator.host.arguments import flag
from cloudstack_hyperv.emulator.host.config import Share
from cloudstack_hyperv.emulator.host.files import may_enter
from cloudstack_hyperv.emulator.host.serving import ClassTable, no_rows
from cloudstack_hyperv.emulator.host.site import Site

MAPPING = "MSFT_SmbGlobalMapping"
_LETTER = re.compile(r"[A-Za-z]:\Z")


class SmbError:
    """HRESULTs of the Win32 errors that mapping ends in (winerror.h)."""

    ACCESS_DENIED = 0x80070005
    BAD_NETWORK_NAME = 0x80070043
    ALREADY_ASSIGNED = 0x80070055
    INVALID_PARAMETER = 0x80070057
    CREDENTIAL_CONFLICT = 0x800704C3
    LOGON_FAILURE = 0x8007052E


@dataclass(frozen=True, slots=True)
class _Mapping:
    local: str
    remote: str
    share: Share
    user: str
    integrity: bool
    privacy: bool
    write_through: bool


class SmbMappings:
    """Global mappings of one host."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._mappings: list[_Mapping] = []

    def register(self, table: ClassTable) -> None:
        """Put the classes into the host's table."""
        methods = {"Create": self.create, "Remove": self.remove}
        table.serve(MAPPING, self.rows, namespace=NAMESPACE_SMB, methods=methods)
        table.serve("MSFT_SmbMapping", no_rows, namespace=NAMESPACE_SMB)

    def rows(self) -> Iterator[Row]:
        """Yield MSFT_SmbGlobalMapping."""
        return (self._row(mapping) for mapping in self._mappings)

    def _row(self, mapping: _Mapping) -> Row:
        reachable = self._site.files.find_share(mapping.remote) is not None
        return Row(
            MAPPING,
            {
                "LocalPath": mapping.local,
                "RemotePath": mapping.remote,
                "RequireIntegrity": mapping.integrity,
                "RequirePrivacy": mapping.privacy,
                "UseWriteThrough": mapping.write_through,
                "Status": 0 if reachable else 6,
            },
        )

    def create(self, call: MethodCall) -> MethodReply:
        """Log in to a share for everyone; raises CimFault with the code of Win32."""
        if not call.caller.administrator:
            raise CimFault(SmbError.ACCESS_DENIED, "Access is denied.")
        local, remote = _text(call, "LocalPath"), _text(call, "RemotePath").rstrip("\\")
        if local and not _LETTER.match(local):
            raise CimFault(SmbError.INVALID_PARAMETER, "LocalPath is not a drive letter.")
        share = self._site.files.find_share(remote)
        if share is None:
            raise CimFault(SmbError.BAD_NETWORK_NAME, "The network name cannot be found.")
        self._check_free(local)
        user = _text(call, "UserName")
        for known in self._mappings:
            if known.share.server.lower() == share.server.lower() and known.user != user.lower():
                raise CimFault(
                    SmbError.CREDENTIAL_CONFLICT,
                    "Multiple connections to a server by the same user are not allowed.",
                )
            if known.remote.lower() == remote.lower():
                raise CimFault(SmbError.ALREADY_ASSIGNED, "The share is mapped already.")
        self._log_in(share, user, _text(call, "Password"))
        mapping = _Mapping(
            local.upper(),
            remote,
            share,
            user.lower(),
            flag(call, "RequireIntegrity"),
            flag(call, "RequirePrivacy"),
            flag(call, "UseWriteThrough"),
        )
        self._mappings.append(mapping)
        self._site.files.map_share(share, local[:1])
        return MethodReply(0, {"CreatedMapping": self._row(mapping)})

    def _check_free(self, local: str) -> None:
        taken = {f"{drive.letter.upper()}:" for drive, _ in self._site.files.drives}
        taken |= {mapping.local for mapping in self._mappings if mapping.local}
        if local.upper() in taken:
            raise CimFault(SmbError.ALREADY_ASSIGNED, "The local device name is already in use.")

    @staticmethod
    def _log_in(share: Share, user: str, password: str) -> None:
        login = next((each for each in share.logins if each.user.lower() == user.lower()), None)
        if login is None or login.password != password:
            raise CimFault(SmbError.LOGON_FAILURE, "The user name or password is incorrect.")
        if not may_enter(share, user):
            raise CimFault(SmbError.ACCESS_DENIED, "Access is denied.")

    def remove(self, call: MethodCall) -> MethodReply:
        """End a mapping; nobody is let in by it any more."""
        target = call.target.values if call.target is not None else {}
        remote, local = target.get("RemotePath"), target.get("LocalPath")
        found = next((m for m in self._mappings if (m.remote, m.local) == (remote, local)), None)
        if found is None:
            raise CimFault(WmiCode.NOT_FOUND, "There is no such mapping.")
        self._mappings.remove(found)
        self._site.files.unmap_share(found.share.server, found.share.name)
        return MethodReply(0)


def _text(call: MethodCall, name: str) -> str:
    value = call.arguments.get(name)
    return value if isinstance(value, str) else ""
