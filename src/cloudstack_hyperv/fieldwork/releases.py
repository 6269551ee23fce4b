"""Which of the emulated host's profiles a real host's build stands for."""

from __future__ import annotations

from typing import Final

CLIENT_11: Final = "client-11"
_BUILDS: Final = (
    (9200, "2012"),
    (9600, "2012r2"),
    (14393, "2016"),
    (17763, "2019"),
    (20348, "2022"),
    (26100, "2025"),
)
"""First build of each release, oldest first (Microsoft, "Windows Server release information")."""
_FIRST_CLIENT: Final = 10240


def profile_of_build(build: int, *, server: bool = True) -> str | None:
    """Return the profile that is nearest from below; None for what came before Server 2012.

    Clients of Windows 10 and 11 count as `client-11`, the one client that there is.
    """
    if not server and build >= _FIRST_CLIENT:
        return CLIENT_11
    return next((name for first, name in reversed(_BUILDS) if build >= first), None)
