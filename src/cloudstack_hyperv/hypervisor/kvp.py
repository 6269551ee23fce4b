"""Boot arguments of system VMs as key-value pairs of Hyper-V's data exchange.

Key `cloudstack-vm-userdata` holds what other hypervisors put on the kernel's command line; the
guest's daemon writes pairs to a pool file, from which the system VM's early script takes the text.
A value holds 2048 bytes of UTF-16 with its terminating zero, 1023 characters; longer ones make
AddKvpItems fail with 32773, and CloudStack's arguments have been longer since 4.16.  So they are
split between tokens, never inside one, and every piece begins and ends with a blank: the script
reads pieces, keys and padding as one text, and a token must stand free in it.

Sources: CloudStack's C# agent (`WmiCallsV2.AddUserData`) and apache/cloudstack#4072; Linux
`tools/hv/hv_kvp_daemon.c` for the sizes.
"""

from __future__ import annotations

from typing import Final

BOOT_ARGUMENTS_KEY: Final = "cloudstack-vm-userdata"
MAX_VALUE_UNITS: Final = 1023
"""UTF-16 code units of a value."""
MAX_VALUE_BYTES: Final = 2047
"""Bytes of a value in the guest's pool file, which is UTF-8."""
MAX_ITEMS: Final = 16
"""More pieces than any CloudStack release needs: something is wrong."""


class TooLongForDataExchange(ValueError):
    """The boot arguments cannot be handed over as key-value pairs.  Their text is not shown."""


def split_boot_arguments(arguments: str) -> tuple[tuple[str, str], ...]:
    """Return (key, value) pairs that carry the arguments; () for none."""
    pieces: list[str] = []
    current = ""
    for token in arguments.split():
        if not _fits(f" {token} "):
            raise TooLongForDataExchange(
                f"boot argument {token.partition('=')[0][:40]!r} has {len(token)} characters; "
                f"Hyper-V's data exchange carries {MAX_VALUE_UNITS - 2} at most"
            )
        longer = f"{current}{token} " if current else f" {token} "
        if _fits(longer):
            current = longer
        else:
            pieces.append(current)
            current = f" {token} "
    if current:
        pieces.append(current)
    if len(pieces) > MAX_ITEMS:
        raise TooLongForDataExchange(
            f"the boot arguments have {len(arguments)} characters; Hyper-V's data exchange "
            f"carries {MAX_ITEMS * MAX_VALUE_UNITS} at most"
        )
    return tuple(
        (BOOT_ARGUMENTS_KEY if not number else f"{BOOT_ARGUMENTS_KEY}-{number + 1}", piece)
        for number, piece in enumerate(pieces)
    )


def _fits(value: str) -> bool:
    return (
        len(value.encode("utf-16-le", "surrogatepass")) // 2 <= MAX_VALUE_UNITS
        and len(value.encode("utf-8", "surrogatepass")) <= MAX_VALUE_BYTES
    )
