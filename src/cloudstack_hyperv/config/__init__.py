"""What the operator asked for: one TOML file, read into one frozen tree of settings."""

from cloudstack_hyperv.config.loading import (
    ConfigurationError,
    load_settings,
    resolve_secret,
    settings_from,
)
from cloudstack_hyperv.config.settings import (
    AgentDoorSettings,
    AuthenticationMethod,
    DirectDoorSettings,
    ExtensionDoorSettings,
    HostAgentSettings,
    HostSettings,
    LogSettings,
    MountSettings,
    Secret,
    SecretSource,
    Settings,
    SmbSettings,
    SmbShareSettings,
    StorageSettings,
    StoreSettings,
    WinrmSettings,
)

__all__ = [
    "AgentDoorSettings",
    "AuthenticationMethod",
    "ConfigurationError",
    "DirectDoorSettings",
    "ExtensionDoorSettings",
    "HostAgentSettings",
    "HostSettings",
    "LogSettings",
    "MountSettings",
    "Secret",
    "SecretSource",
    "Settings",
    "SmbSettings",
    "SmbShareSettings",
    "StorageSettings",
    "StoreSettings",
    "WinrmSettings",
    "load_settings",
    "resolve_secret",
    "settings_from",
]
