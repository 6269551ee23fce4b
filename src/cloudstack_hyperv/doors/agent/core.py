"""Commands to the agent itself, not to the host: lists of servers, certificates, good-byes.

Each is answered first; what it leads to happens after the answer is on its way (`Handled.then`).

Source: com.cloud.agent.Agent (processRequest and the methods that it calls).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from cloudstack_hyperv.doors.agent.certificates import (
    CertificateRefused,
    CertificateStore,
    names_address,
)
from cloudstack_hyperv.doors.agent.memory import AgentMemory
from cloudstack_hyperv.messages import Answer, Command, failure_answer
from cloudstack_hyperv.messages.answers.host import (
    AgentControlAnswer,
    MigrateAgentConnectionAnswer,
)
from cloudstack_hyperv.messages.answers.system_vm import (
    SetupCertificateAnswer,
    SetupKeystoreAnswer,
    SetupMSListAnswer,
)
from cloudstack_hyperv.messages.commands.host import (
    AgentControlCommand,
    CancelCommand,
    MigrateAgentConnectionCommand,
    PostCertificateRenewalCommand,
    SetupCertificateCommand,
    SetupKeyStoreCommand,
    SetupMSListCommand,
    ShutdownCommand,
)

log = structlog.get_logger(__name__)


class Connection(Protocol):
    """What these commands may do with the connection they came by."""

    @property
    def local_address(self) -> str:
        """Our address on it."""

    def take_servers(
        self,
        listed: list[str] | None,
        algorithm: str | None,
        avoid: list[str] | None,
        check_interval: int | None,
    ) -> None:
        """Use a list of management servers."""

    def check_preferred_now(self) -> None:
        """Look whether the preferred server is there, and go there if idle."""

    def migrate(self) -> None:
        """Go to the first server of the list, soon."""

    def renew(self) -> None:
        """Connect anew with the new certificate as soon as no command runs."""

    def retire(self, reason: str, *, removed: bool) -> None:
        """End for good."""

    def cancel_request(self, sequence: int, reason: str) -> bool:
        """Break off a running request; False if there is none."""


@dataclass(frozen=True, slots=True)
class Handled:
    """An answer, and what is to happen once it was sent."""

    answer: Answer
    then: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class CoreCommands:
    """Carries out the commands that are not the resource's."""

    connection: Connection
    memory: AgentMemory
    certificates: CertificateStore
    name: str
    private_address: str

    async def handle(self, command: Command) -> Handled | None:
        """Carry a command out; None if it is the resource's."""
        for kind, handler in _HANDLERS.items():
            if isinstance(command, kind):
                try:
                    return await handler(self, command)
                except OSError as error:
                    reason = f"{type(command).__name__}: {error.strerror or error}"
                    log.warning("an agent command failed", reason=reason)
                    return Handled(failure_answer(command, reason))
        return None


async def _control(_core: CoreCommands, _command: AgentControlCommand) -> Handled:
    return Handled(AgentControlAnswer(result=True))


async def _servers(core: CoreCommands, command: SetupMSListCommand) -> Handled:
    core.connection.take_servers(
        command.ms_list, command.lb_algorithm, command.avoid_ms_list, command.lb_check_interval
    )
    then = core.connection.check_preferred_now if command.trigger_host_lb else None
    return Handled(SetupMSListAnswer(result=True), then)


async def _migrate(core: CoreCommands, command: MigrateAgentConnectionCommand) -> Handled:
    core.connection.take_servers(
        command.ms_list, command.lb_algorithm, command.avoid_ms_list, command.lb_check_interval
    )
    return Handled(MigrateAgentConnectionAnswer(result=True), core.connection.migrate)


async def _shutdown(core: CoreCommands, command: ShutdownCommand) -> Handled:
    reason = command.reason or "no reason given"

    def retire() -> None:
        core.connection.retire(reason, removed=command.remove_host)

    return Handled(Answer(result=True), retire)


async def _cancel(core: CoreCommands, command: CancelCommand) -> Handled:
    reason = command.reason or "asked by the management server"
    if core.connection.cancel_request(command.sequence, reason):
        return Handled(Answer(result=True))
    return Handled(Answer(result=False, details=f"no request {command.sequence} is running"))


async def _keystore(core: CoreCommands, command: SetupKeyStoreCommand) -> Handled | None:
    if not command.handle_by_agent:
        return None  # meant for a system VM that is reached through the host
    addresses = (core.private_address, core.connection.local_address)
    # A key takes a moment to make; pings and other commands go on.
    request = await asyncio.to_thread(core.certificates.new_request, core.name, addresses)
    core.memory.passphrase(command.keystore_password)
    log.info("key made, certificate requested", addresses=addresses)
    return Handled(SetupKeystoreAnswer(result=True, csr=request))


async def _certificate(core: CoreCommands, command: SetupCertificateCommand) -> Handled | None:
    if not command.handle_by_agent:
        return None
    try:
        issued = core.certificates.install(
            command.certificate or "", command.private_key or "", command.ca_certificates or ""
        )
    except CertificateRefused as error:
        log.warning("the certificate that came is not used", reason=str(error))
        return Handled(SetupCertificateAnswer(result=False, details=str(error)))
    log.info("certificate installed", valid_until=issued.not_valid_after_utc.isoformat())
    address = core.connection.local_address
    if not names_address(issued, address):
        log.warning(
            "the new certificate does not name the address from which this agent connects; a "
            "management server with ca.plugin.root.auth.strictness will not accept it",
            address=address,
        )
    return Handled(SetupCertificateAnswer(result=True), core.connection.renew)


async def _renewed(core: CoreCommands, _command: PostCertificateRenewalCommand) -> Handled:
    # On KVM this restarts libvirtd, which shares the certificate.  Here only the link uses it.
    return Handled(SetupCertificateAnswer(result=True), core.connection.renew)


_HANDLERS: Final[dict[type[Command], Callable[[CoreCommands, Any], Awaitable[Handled | None]]]] = {
    AgentControlCommand: _control,
    SetupMSListCommand: _servers,
    MigrateAgentConnectionCommand: _migrate,
    ShutdownCommand: _shutdown,
    CancelCommand: _cancel,
    SetupKeyStoreCommand: _keystore,
    SetupCertificateCommand: _certificate,
    PostCertificateRenewalCommand: _renewed,
}
