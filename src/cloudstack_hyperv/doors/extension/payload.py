r"""The payload file of an extension call, read into types.  Pure.

    externaldetails.host            url, username, password, network_switch, vhd_path, vm_path,
                                    verify_tls_certificate; of ours: network_switch_<which>,
                                    certificate_fingerprint, authentication
    externaldetails.virtualmachine  template_type, template_path, iso_path, vhd_size_gb, generation
    cloudstack.vm.details           the VirtualMachineTO of StartCommand
    parameters                      of a custom action, typed

All details are texts, as CloudStack stores them; what may also come as a number (`generation`) is
read in either form.  `url` is an address, or `http(s)://address:port`; https and 5986 are the
default, as in the stock sample.

NICs go to `network_switch`, or to another one where a detail says so: `network_switch_<label>` for
the NIC's traffic label, `network_switch_<uuid>` for its network, `network_switch_<type>` for its
traffic type (guest, public, ...), tried in that order, without regard to letter case.

Source: CloudStack's `ExternalPathPayloadProvisioner`; `extensions/HyperV/hyperv.py` for the keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import urlsplit

from cloudstack_hyperv.config import Secret
from cloudstack_hyperv.messages import Json, MalformedMessage
from cloudstack_hyperv.messages.json_text import parse_json
from cloudstack_hyperv.messages.objects.vm import NicTO, VirtualMachineTO
from cloudstack_hyperv.messages.wire import from_json

_TRUE: Final = frozenset({"true", "yes", "1"})
_FALSE: Final = frozenset({"false", "no", "0"})
_GIB: Final = 2**30

Parameters = Mapping[str, Json]


class BadPayload(ValueError):
    """The payload lacks something or has it in another shape; the text names the key."""


@dataclass(frozen=True, slots=True)
class HostDetails:
    """How to reach the Hyper-V host, and where things go on it."""

    address: str
    https: bool = True
    port: int | None = None
    username: str = ""
    password: Secret | None = None
    verify_certificate: bool = True
    certificate_fingerprint: str | None = None
    authentication: str = "negotiate"
    disk_folder: str | None = None
    """`vhd_path`."""
    configuration_folder: str | None = None
    """`vm_path`."""
    switches: Mapping[str, str] = field(default_factory=dict)
    """"" to the default switch, "label or uuid or type" (case folded) to another."""

    def switch_label(self, nic: NicTO) -> str | None:
        """Return the switch for a NIC; its own traffic label where nothing is configured."""
        for which in (nic.name, nic.uuid, nic.type, ""):
            if which is not None and (found := self.switches.get(which.casefold())):
                return found
        return nic.name


@dataclass(frozen=True, slots=True)
class MachineDetails:
    """What the offering and the template say of a VM."""

    template_type: str = "template"
    template_path: str | None = None
    iso_path: str | None = None
    disk_size: int | None = None
    """Bytes (`vhd_size_gb`)."""
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class Payload:
    """One call's payload."""

    host: HostDetails
    vm: VirtualMachineTO
    details: MachineDetails
    parameters: Parameters = field(default_factory=dict)


def read_payload(content: bytes) -> Payload:
    """Read a payload file; raises BadPayload."""
    try:
        document = parse_json(content)
    except MalformedMessage as error:
        raise BadPayload(f"the payload is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadPayload("the payload is not a JSON object")
    external = _mapping(document, "externaldetails", required=True)
    vm_details = document.get("cloudstack.vm.details")
    if not isinstance(vm_details, dict):
        raise BadPayload("the payload has no cloudstack.vm.details")
    try:
        vm = from_json(VirtualMachineTO, cast("Json", vm_details))
    except MalformedMessage as error:
        raise BadPayload(f"cloudstack.vm.details: {error}") from None
    return Payload(
        host=read_host(_texts(external, "host")),
        vm=vm,
        details=_machine_details(_texts(external, "virtualmachine")),
        parameters=_mapping(document, "parameters"),
    )


def read_host(details: Mapping[str, str]) -> HostDetails:
    """Read `externaldetails.host`; raises BadPayload."""
    url = details.get("url", "").strip()
    if not url:
        raise BadPayload("the host has no url: give its address as the host's detail url")
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        port = parts.port
    except ValueError:
        raise BadPayload("the host's url has an address or a port that is none") from None
    if "@" in url:
        raise BadPayload("the host's url must not carry a login; use username and password")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadPayload(
            f"the host's url {url[:100]!r} is not an address or http(s)://address:port"
        )
    password = details.get("password")
    prefix = "network_switch"
    switches = {
        key[len(prefix) :].removeprefix("_").casefold(): value
        for key, value in details.items()
        if (key == prefix or key.startswith(f"{prefix}_")) and value
    }
    return HostDetails(
        address=parts.hostname,
        https=parts.scheme == "https",
        port=port,
        username=details.get("username", ""),
        password=Secret(password) if password else None,
        verify_certificate=_truth(details, "verify_tls_certificate", default=True),
        certificate_fingerprint=details.get("certificate_fingerprint") or None,
        authentication=details.get("authentication", "negotiate").strip().lower(),
        disk_folder=details.get("vhd_path") or None,
        configuration_folder=details.get("vm_path") or None,
        switches=switches,
    )


def text_parameter(parameters: Parameters, *names: str) -> str | None:
    """Return the first of these parameters that is given, as text; None if none is."""
    for name in names:
        value = parameters.get(name)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return f"{value:g}" if isinstance(value, float) else str(value)
        if value is not None and value != "":
            raise BadPayload(f"parameter {name} is neither text nor a number")
    return None


def truth_parameter(parameters: Parameters, name: str) -> bool | None:
    """Return a parameter that is true or false, None if it is not given."""
    value = parameters.get(name)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _TRUE | _FALSE:
        return value.strip().lower() in _TRUE
    raise BadPayload(f"parameter {name} is neither true nor false")


def size_parameter(parameters: Parameters, *names: str) -> int | None:
    """Return a size given in GiB as bytes, None if it is not given."""
    text = text_parameter(parameters, *names)
    return None if text is None else _gigabytes(text, names[0])


def _machine_details(details: Mapping[str, str]) -> MachineDetails:
    kind = details.get("template_type", "template").strip().lower()
    if kind not in ("template", "iso"):
        raise BadPayload(f"template_type is template or iso, not {kind[:40]!r}")
    size = details.get("vhd_size_gb", "").strip()
    return MachineDetails(
        template_type=kind,
        template_path=details.get("template_path") or None,
        iso_path=details.get("iso_path") or None,
        disk_size=_gigabytes(size, "vhd_size_gb") if size else None,
        generation=_generation(details.get("generation", "").strip()),
    )


def _generation(text: str) -> int | None:
    if not text:
        return None
    if text in ("1", "1.0"):
        return 1
    if text in ("2", "2.0"):
        return 2
    raise BadPayload(f"generation is 1 or 2, not {text[:40]!r}")


def _gigabytes(text: str, name: str) -> int:
    try:
        size = float(text)
    except ValueError:
        raise BadPayload(f"{name} is a number of GiB, not {text[:40]!r}") from None
    if not 0 < size <= 64 * 1024:
        raise BadPayload(f"{name}: {text[:40]} GiB cannot be the size of a disk")
    return round(size * _GIB)


def _truth(details: Mapping[str, str], name: str, *, default: bool) -> bool:
    """Read a detail; what is neither true nor false is the default, which is the safe one."""
    text = details.get(name, "").strip().lower()
    return default if text not in _TRUE | _FALSE else text in _TRUE


def _mapping(document: Mapping[str, Any], key: str, *, required: bool = False) -> dict[str, Any]:
    value = document.get(key)
    if isinstance(value, dict):
        return value
    # Java writes an empty map as an empty array in some releases.
    if not required and (value is None or value == []):
        return {}
    raise BadPayload(f"the payload has no {key}")


def _texts(external: Mapping[str, Any], key: str) -> dict[str, str]:
    """Return a map of details; numbers and truths become their text."""
    texts: dict[str, str] = {}
    for name, value in _mapping(external, key).items():
        match value:
            case str():
                texts[name] = value
            case bool():
                texts[name] = "true" if value else "false"
            case int() | float():
                texts[name] = str(value)
            case None:
                continue
            case _:
                raise BadPayload(f"externaldetails.{key}.{name} is not a text")
    return texts
