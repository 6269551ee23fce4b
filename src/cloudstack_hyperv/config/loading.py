"""From a TOML file to `Settings`, with errors that name the place and the nearest valid key."""

from __future__ import annotations

import difflib
import ipaddress
import os
import stat
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from cloudstack_hyperv.config.settings import (
    AuthenticationMethod,
    HostSettings,
    Secret,
    SecretSource,
    Settings,
    Table,
)


class ConfigurationError(Exception):
    """The configuration cannot be used; the text names file, key and remedy."""


def load_settings(path: Path) -> Settings:
    """Read and check the TOML file at `path`; raises ConfigurationError."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not TOML: {error}") from error
    return settings_from(document, source=str(path))


def settings_from(document: dict[str, Any], *, source: str = "configuration") -> Settings:
    """Check a parsed TOML document; raises ConfigurationError."""
    _check_keys(document, Settings, "", source)
    try:
        settings = msgspec.convert(document, Settings, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{source}: {error}") from error
    _check_hosts(settings, source)
    _check_direct_door(settings, source)
    _check_agent_door(settings, source)
    return settings


def resolve_secret(source: SecretSource | None, *, purpose: str) -> Secret:
    """Fetch a secret from where its source says; raises ConfigurationError."""
    if source is None:
        raise ConfigurationError(f"{purpose}: no password is configured")
    given = [name for name in ("value", "file", "environment") if getattr(source, name) is not None]
    if len(given) != 1:
        raise ConfigurationError(f"{purpose}: give exactly one of value, file, environment")
    if source.value is not None:
        return Secret(source.value)
    if source.environment is not None:
        text = os.environ.get(source.environment)
        if text is None:
            raise ConfigurationError(
                f"{purpose}: the environment variable {source.environment} is not set"
            )
        return Secret(text)
    return Secret(_secret_file(Path(source.file or ""), purpose))


def _secret_file(path: Path, purpose: str) -> str:
    try:
        mode = path.stat().st_mode
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigurationError(f"{purpose}: {path}: {error.strerror}") from error
    if mode & (stat.S_IRWXO):
        raise ConfigurationError(
            f"{purpose}: {path} can be read by everyone; run: chmod o-rwx {path}"
        )
    if not lines or not lines[0]:
        raise ConfigurationError(f"{purpose}: {path} is empty")
    return lines[0]


def _check_keys(value: Any, kind: Any, where: str, source: str) -> None:
    """Report an unknown key with the nearest valid one, at any depth."""
    table = _table_of(kind)
    if table is None:
        return
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, dict):
            continue
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(table)}
        for key, inner in item.items():
            place = f"{where}.{key}" if where else key
            if key not in fields:
                raise ConfigurationError(f"{source}: unknown key {place}{_nearest(key, fields)}")
            _check_keys(inner, fields[key], place, source)


def _nearest(key: str, fields: dict[str, Any]) -> str:
    near = difflib.get_close_matches(key, fields, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; valid keys: {', '.join(sorted(fields))}"


def _table_of(kind: Any) -> type[Table] | None:
    if isinstance(kind, type) and issubclass(kind, Table):
        return kind
    for argument in getattr(kind, "__args__", ()):
        found = _table_of(argument)
        if found is not None:
            return found
    return None


def _check_hosts(settings: Settings, source: str) -> None:
    seen: dict[str, str] = {}
    for host in settings.hosts:
        where = f"{source}: host {host.name!r}"
        _check_login(host, where)
        door = host.listen
        if door is not None and host.listen_port:
            door = f"{door} port {host.listen_port}"
        for what, value in (("name", host.name), ("listen", door)):
            if value is None:
                continue
            if f"{what} {value}" in seen:
                raise ConfigurationError(
                    f"{where}: {what} {value} is also that of host {seen[f'{what} {value}']!r}"
                )
            seen[f"{what} {value}"] = host.name
        if host.listen is not None:
            _address(host.listen, f"{where}: listen")
        if host.private_address is not None:
            _address(host.private_address, f"{where}: private_address")
        if host.gateway_address is not None:
            _address(host.gateway_address, f"{where}: gateway_address")
    for store in settings.storage.stores:
        if urlsplit(store.url).query:
            raise ConfigurationError(
                f"{source}: storage.stores.url must not carry a query; give user, password and "
                "domain as keys of their own"
            )


def _check_login(host: HostSettings, where: str) -> None:
    winrm = host.winrm
    if winrm.transport not in ("http", "https"):
        raise ConfigurationError(f"{where}: winrm.transport must be http or https")
    if (
        winrm.authentication is AuthenticationMethod.BASIC
        and winrm.transport == "http"
        and not winrm.allow_unencrypted
    ):
        raise ConfigurationError(
            f"{where}: Basic over http sends the password in clear; use https or negotiate, or set "
            "winrm.allow_unencrypted = true for a test on this machine"
        )
    needs_password = winrm.authentication not in (
        AuthenticationMethod.CERTIFICATE,
        AuthenticationMethod.KERBEROS,
    )
    if needs_password and (not winrm.user or winrm.password is None):
        raise ConfigurationError(f"{where}: winrm.user and winrm.password are needed")
    if winrm.authentication is AuthenticationMethod.CERTIFICATE and not (
        winrm.client_certificate and winrm.client_key and winrm.transport == "https"
    ):
        raise ConfigurationError(
            f"{where}: certificate login needs https, winrm.client_certificate and winrm.client_key"
        )


def _check_direct_door(settings: Settings, source: str) -> None:
    for key in ("allow", "console_allow"):
        for entry in getattr(settings.direct, key):
            try:
                ipaddress.ip_network(entry, strict=False)
            except ValueError as error:
                raise ConfigurationError(f"{source}: direct.{key}: {error}") from error
    if settings.direct.forward_console and not settings.direct.console_allow:
        raise ConfigurationError(
            f"{source}: direct.forward_console needs direct.console_allow: the addresses of the "
            "console proxies"
        )
    if settings.storage.clone not in ("full", "differencing"):
        raise ConfigurationError(f"{source}: storage.clone must be full or differencing")


def _check_agent_door(settings: Settings, source: str) -> None:
    door = settings.agent
    if door is None:
        return
    if door.properties is not None and len(settings.hosts) > 1:
        raise ConfigurationError(
            f"{source}: agent.properties is for one host; with several, give each its own: "
            "hosts.agent.properties"
        )
    if door.algorithm not in (None, "static", "roundrobin", "shuffle"):
        raise ConfigurationError(f"{source}: agent.algorithm must be static, roundrobin or shuffle")
    if (door.certificate is None) != (door.key is None):
        raise ConfigurationError(f"{source}: agent.certificate and agent.key belong together")
    for one in door.server_fingerprints:
        digits = one.replace(":", "")
        if len(digits) != 64 or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
            raise ConfigurationError(
                f"{source}: agent.server_fingerprints: {one!r} is no SHA-256 in hex"
            )


def _address(text: str, where: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}") from error
