"""The agent as a Windows service, for those who run the gateway on Windows.

This module alone uses pywin32; what it does with the agent is `worker`, which is tested everywhere.
It has not been tried on Windows.

    cloudstack-hyperv service install     as an administrator; then: sc start cloudstack-hyperv

Source: pywin32, `win32serviceutil.ServiceFramework`; Microsoft, "Service Control Manager".
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Final

from cloudstack_hyperv.service.installing import ServiceError
from cloudstack_hyperv.service.worker import START_PATIENCE, STOP_PATIENCE, Main, Phase, Worker

NAME: Final = "cloudstack-hyperv"
DISPLAY_NAME: Final = "Apache CloudStack Hyper-V agent"
_STATES: Final = {
    Phase.STARTING: "SERVICE_START_PENDING",
    Phase.RUNNING: "SERVICE_RUNNING",
    Phase.STOPPING: "SERVICE_STOP_PENDING",
}


def service_class(main: Main, load: Any = importlib.import_module) -> type:
    """Return the class that the Windows service manager starts; raises ServiceError."""
    try:
        framework, constants = load("win32serviceutil"), load("win32service")
    except ImportError:
        raise ServiceError("a Windows service needs pywin32: pip install pywin32") from None

    class AgentService(framework.ServiceFramework):  # type: ignore[misc,name-defined]  # pywin32 is untyped
        _svc_name_ = NAME
        _svc_display_name_ = DISPLAY_NAME
        _svc_description_ = "Carries out CloudStack's commands on Hyper-V hosts."

        def __init__(self, arguments: Sequence[str]) -> None:
            super().__init__(arguments)
            self._worker = Worker(main, self._tell)

        def SvcDoRun(self) -> None:  # noqa: N802 - the service manager's name
            self._worker.run()

        def SvcStop(self) -> None:  # noqa: N802 - the service manager's name
            self._worker.stop()

        def _tell(self, phase: Phase, status: int) -> None:
            if phase is Phase.STOPPED:
                # The framework itself says STOPPED when SvcDoRun returns.
                if status:
                    raise SystemExit(status)
                return
            patience = STOP_PATIENCE if phase is Phase.STOPPING else START_PATIENCE
            self.ReportServiceStatus(
                getattr(constants, _STATES[phase]), waitHint=int(patience * 1000)
            )

    return AgentService


def control(main: Main, arguments: Sequence[str], load: Any = importlib.import_module) -> None:
    """Let pywin32 carry out `install`, `remove`, `start`, `stop` ...; raises ServiceError."""
    service = service_class(main, load)
    load("win32serviceutil").HandleCommandLine(service, argv=[NAME, *arguments])
