"""Commands that are answered at once and then run again and again.

CloudStack marks them with com.cloud.agent.api.CronCommand; a Hyper-V host sees only the first.
"""

from __future__ import annotations

from typing import Final

from cloudstack_hyperv.messages import Command
from cloudstack_hyperv.messages.commands.network import (
    CleanupNetworkRulesCmd,
    RecurringNetworkUsageCommand,
)
from cloudstack_hyperv.messages.commands.system_vm import WatchConsoleProxyLoadCommand
from cloudstack_hyperv.messages.commands.unmanaged import ClusterVMMetaDataSyncCommand

CRON_COMMANDS: Final[tuple[type[Command], ...]] = (
    CleanupNetworkRulesCmd,
    RecurringNetworkUsageCommand,
    ClusterVMMetaDataSyncCommand,
    WatchConsoleProxyLoadCommand,
)
LEAST_INTERVAL: Final = 1.0


def cron_interval(command: Command) -> float:
    """Return the seconds between two runs; never less than one."""
    return max(LEAST_INTERVAL, float(getattr(command, "interval", 0)))
