"""What a management server's refusal means, and what an operator can do about it.

A refusal is the text of a Java exception.  The words looked for are those of
ResourceManagerImpl.createHostVO and fillRoutingHostVO, HypervServerDiscoverer and AgentManagerImpl.
"""

from __future__ import annotations

from typing import Final

_MEANINGS: Final = (
    (
        ("no resource state adapter response",),
        (
            "this management server takes no connected Hyper-V agent: install the adapter of "
            "docs/management-server.md, or use the direct door"
        ),
    ),
    (
        ("being removed", "is removed", "has been removed"),
        "the host is being removed from CloudStack; remove it from this configuration too",
    ),
    (
        ("cidr",),
        "the host's private address and netmask do not fit into the pod's network",
    ),
    (
        ("hypervisor",),
        "the cluster is not one of type Hyperv: set cluster to the number of one that is",
    ),
    (
        ("arch",),
        "the cluster's architecture is not the host's (x86_64)",
    ),
    (
        ("cluster",),
        "set cluster to the number of a cluster of type Hyperv in this pod",
    ),
    (
        ("pod",),
        "set pod to the number of a pod of this zone",
    ),
    (
        ("data center", "datacenter", "zone"),
        "set zone to the number of an existing zone",
    ),
    (
        ("ip address", "already used", "already in use", "duplicate"),
        "another host is booked with this address or guid",
    ),
    (
        ("not allowed", "version"),
        "the management server does not allow this agent: compare cloudstack_version",
    ),
)
"""Tried from the top; the first line with a word that occurs is taken."""

UNKNOWN: Final = "see the management server's log at this time"


def meaning(reason: str) -> str:
    """Return what the refusal means for an operator."""
    words = reason.lower()
    for signs, meant in _MEANINGS:
        if any(sign in words for sign in signs):
            return meant
    return UNKNOWN
