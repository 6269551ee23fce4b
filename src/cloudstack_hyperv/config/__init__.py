"""What the operator asked for: one TOML file, read into one frozen tree of settings."""

from cloudstack_hyperv.config.loading import (
    ConfigurationError,
    load_settings,
    resolve_secret,
    settings_from,
)
from cloudstack_hyperv.config.settings import (
    AuthenticationMethod,
    DirectDoorSettings,
    HostSettings,
    LogSettings,
    MountSettings,
    Secret,
    SecretSource,
    Settings,
    StorageSettings,
    StoreSettings,
    WinrmSettings,
)

__all__ = [
    "AuthenticationMethod",
    "ConfigurationError",
    "DirectDoorSettings",
    "HostSettings",
    "LogSettings",
    "MountSettings",
    "Secret",
    "SecretSource",
    "Settings",
    "StorageSettings",
    "StoreSettings",
    "WinrmSettings",
    "load_settings",
    "resolve_secret",
    "settings_from",
]
