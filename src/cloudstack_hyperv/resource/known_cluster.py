"""Whether a host is in a failover cluster, kept in `HostMemory` under "cluster".

Asked once: a host that joins or leaves a cluster is restarted or added anew.
"""

from __future__ import annotations

import structlog

from cloudstack_hyperv.hypervisor.cluster import ClusterRole, find_role, read_cluster_name
from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.hypervisor.machines import Machine
from cloudstack_hyperv.resource.context import HostContext

log = structlog.get_logger(__name__)

_CLUSTER = "cluster"


async def known_cluster(context: HostContext) -> str:
    """Return the name of the host's cluster, "" for none; one round trip the first time.

    The cluster's provider is not there for a while after a host came up, and some accounts may not
    ask it: then there is no cluster for now, and the next command asks again.
    """
    name = context.memory.values.get(_CLUSTER)
    if isinstance(name, str):
        return name
    try:
        name = await read_cluster_name(context.cim)
    except HypervisorError as error:
        log.warning("the failover cluster cannot be asked", reason=str(error))
        return ""
    context.memory.values[_CLUSTER] = name
    return name


async def role_of(context: HostContext, machine: Machine) -> ClusterRole | None:
    """Return the cluster role of a VM; no round trip on a host that is in no cluster."""
    return await find_role(context.cim, machine.guid) if await known_cluster(context) else None
