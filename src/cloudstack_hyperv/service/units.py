"""The files that make the agent a service on Linux, as text.  Pure.

Places are those of a Debian package: configuration in /etc, what the agent keeps in /var/lib, its
log in /var/log, sockets in /run.  The service runs as a user of its own without any capability, as
all its ports are above 1024, and sees the file system read-only but for its own folders; folders of
`hosts.mounts` and `storage.stores` have to be allowed by a drop-in (`systemctl edit`).

Source: systemd.service(5), systemd.exec(5), sysusers.d(5), logrotate(8).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

NAME: Final = "cloudstack-hyperv"
USER: Final = "cloudstack-hyperv"
UNIT: Final = PurePosixPath("/etc/systemd/system/cloudstack-hyperv.service")
LOGROTATE: Final = PurePosixPath("/etc/logrotate.d/cloudstack-hyperv")
SYSUSERS: Final = PurePosixPath("/etc/sysusers.d/cloudstack-hyperv.conf")
CONFIGURATION: Final = PurePosixPath("/etc/cloudstack-hyperv/cloudstack-hyperv.toml")
STATE: Final = PurePosixPath("/var/lib/cloudstack-hyperv")
LOGS: Final = PurePosixPath("/var/log/cloudstack-hyperv")
PROGRAM: Final = "/usr/bin/cloudstack-hyperv"

_UNIT: Final = """\
[Unit]
Description=Apache CloudStack Hyper-V agent
Documentation=https://cloudstack.apache.org/
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=300
StartLimitBurst=10

[Service]
Type=notify
NotifyAccess=main
ExecStart={program} run --config {configuration}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=5
WatchdogSec=60
# A stop lets running commands end (direct.drain_timeout) and undoes what does not.
TimeoutStartSec=120
TimeoutStopSec=180
{log}
User={user}
Group={user}
ConfigurationDirectory=cloudstack-hyperv
ConfigurationDirectoryMode=0750
StateDirectory=cloudstack-hyperv
StateDirectoryMode=0750
LogsDirectory=cloudstack-hyperv
LogsDirectoryMode=0750
RuntimeDirectory=cloudstack-hyperv
RuntimeDirectoryMode=0755
UMask=0027
LimitNOFILE=65536

# The agent speaks to hosts, management servers and stores, and to nothing on this machine.
CapabilityBoundingSet=
AmbientCapabilities=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
# For extension.group: only to groups that the user is in, see SupplementaryGroups.
SystemCallFilter=@chown
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""

_LOG_TO_FILE: Final = (
    "StandardOutput=append:/var/log/cloudstack-hyperv/agent.log\n"
    "StandardError=append:/var/log/cloudstack-hyperv/agent.log"
)
_LOG_TO_JOURNAL: Final = "StandardOutput=journal\nStandardError=journal"

_LOGROTATE: Final = """\
# The agent keeps its log open, so the file is copied and emptied; it is opened for appending.
/var/log/cloudstack-hyperv/*.log {
    su cloudstack-hyperv cloudstack-hyperv
    daily
    rotate 30
    maxsize 200M
    compress
    delaycompress
    missingok
    notifempty
    copytruncate
}
"""

_SYSUSERS: Final = """\
u cloudstack-hyperv - "Apache CloudStack Hyper-V agent" /var/lib/cloudstack-hyperv /usr/sbin/nologin
"""


@dataclass(frozen=True, slots=True)
class ServiceFiles:
    """What is installed, by place."""

    files: tuple[tuple[PurePosixPath, str], ...]


def service_files(
    *, program: str = PROGRAM, configuration: str = str(CONFIGURATION), journal: bool = False
) -> ServiceFiles:
    """Return the service's files; `journal` leaves the log to journald.  Raises ValueError."""
    for what, text in (("program", program), ("configuration", configuration)):
        # systemd has quoting rules of its own; no reasonable path needs them.
        if re.fullmatch(r"/[A-Za-z0-9_./+@:,=-]*", text) is None:
            raise ValueError(f"{what}: {text!r} is not a plain absolute path")
    unit = _UNIT.format(
        program=program,
        configuration=configuration,
        user=USER,
        log=_LOG_TO_JOURNAL if journal else _LOG_TO_FILE,
    )
    files: list[tuple[PurePosixPath, str]] = [(UNIT, unit), (SYSUSERS, _SYSUSERS)]
    if not journal:
        files.append((LOGROTATE, _LOGROTATE))
    return ServiceFiles(tuple(files))
