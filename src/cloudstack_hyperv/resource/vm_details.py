"""The VM details that are understood, by name: what an operator sets on a VM or its template.

CloudStack passes the details of a VM, its template and its service offering along in
`VirtualMachineTO.details`, a map of names to texts.  Names that CloudStack defines keep their
meaning; what only Hyper-V has begins with `hyperv.`.  A name that is in no list here is ignored,
because the map also carries what is meant for the management server or another hypervisor.

`UNDERSTOOD` and `REFUSED` are the documented lists (docs/contract.md), and a test compares.
Sources: CloudStack's `VmDetailConstants` and `ApiConstants.BootType`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloudstack_hyperv.hypervisor.wish import SECURE_BOOT_UEFI_CA, SECURE_BOOT_WINDOWS
from cloudstack_hyperv.messages.objects.vm import VirtualMachineTO
from cloudstack_hyperv.resource.errors import CommandRefused

NESTED: Final = "nestedVirtualizationFlag"
UEFI: Final = "UEFI"
SECURE_BOOT_TEMPLATE: Final = "hyperv.secureboot.template"
PROCESSOR_COMPATIBILITY: Final = "hyperv.processor.compatibility"
CLUSTER_ROLE: Final = "hyperv.cluster.role"

UNDERSTOOD: Final[Mapping[str, str]] = {
    UEFI: "`LEGACY` or `SECURE`: generation 2, with that boot mode; counts where the command "
    "itself has no `bootType`",
    NESTED: "`true`: the guest may run a hypervisor (Windows Server 2016 and later); its memory "
    "is static then",
    SECURE_BOOT_TEMPLATE: "`windows` or `uefi-ca`: whose signatures secure boot trusts, where the "
    "guest's operating system says the wrong one",
    PROCESSOR_COMPATIBILITY: "`true`: hide what processors of other steppings lack, so that the VM "
    "can migrate live between unlike hosts",
    CLUSTER_ROLE: "`true`: make the VM a role of the host's failover cluster, which then restarts "
    "it when its host fails; its files must be on a cluster shared volume or SMB",
}
REFUSED: Final[Mapping[str, str]] = {
    "virtual.tpm.model": "a virtual TPM",
    "virtual.tpm.version": "a virtual TPM",
    "virtual.tpm.enabled": "a virtual TPM",
    "hyperv.shielded": "a shielded VM",
}

_TEMPLATES: Final = {"windows": SECURE_BOOT_WINDOWS, "uefi-ca": SECURE_BOOT_UEFI_CA}
_NO: Final = frozenset({"", "false", "none", "no"})


@dataclass(frozen=True, slots=True)
class VmDetails:
    """What a VM's details say, read."""

    boot_mode: str | None = None
    """The value of `UEFI`, upper case."""
    nested: bool = False
    compatible: bool = False
    secure_boot_template: str | None = None
    """GUID of the template."""
    cluster_role: bool = False


def read_details(vm: VirtualMachineTO) -> VmDetails:
    """Read the details of a VM; raises CommandRefused for a wish that cannot be met."""
    details = vm.details or {}
    for name, what in REFUSED.items():
        if details.get(name, "").casefold() not in _NO:
            raise CommandRefused(f"VM {vm.name}: {what} ({name}) is not supported by this agent")
    template = details.get(SECURE_BOOT_TEMPLATE)
    if template is not None and template.casefold() not in _TEMPLATES:
        raise CommandRefused(
            f"VM {vm.name}: {SECURE_BOOT_TEMPLATE} is {' or '.join(_TEMPLATES)}, "
            f"not {template[:40]!r}"
        )
    mode = details.get(UEFI)
    if mode is not None and mode.upper() not in {"LEGACY", "SECURE"}:
        raise CommandRefused(f"VM {vm.name}: {UEFI} is LEGACY or SECURE, not {mode[:40]!r}")
    return VmDetails(
        boot_mode=mode.upper() if mode else None,
        nested=_is_true(details, NESTED),
        compatible=_is_true(details, PROCESSOR_COMPATIBILITY),
        secure_boot_template=_TEMPLATES[template.casefold()] if template else None,
        cluster_role=_is_true(details, CLUSTER_ROLE),
    )


def _is_true(details: Mapping[str, str], name: str) -> bool:
    return details.get(name, "").casefold() == "true"
