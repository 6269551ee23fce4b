"""keepalived's and Kubernetes' files, checked by keepalived itself and by Kubernetes' schemas."""

import shutil
import signal
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from cloudstack_hyperv.config import settings_from

PACKAGING = Path(__file__).parents[2] / "packaging"
MANIFESTS = sorted(
    file for file in (PACKAGING / "kubernetes").glob("*.yaml") if file.stem != "kustomization"
)
OLDEST_KUBERNETES = "1.30"


def _keepalived() -> str | None:
    return shutil.which("keepalived") or shutil.which("keepalived", path="/usr/sbin:/sbin")


@pytest.mark.skipif(_keepalived() is None, reason="no keepalived")
def test_keepalived_takes_its_configuration(tmp_path: Path) -> None:
    cards = [card.name for card in Path("/sys/class/net").iterdir() if card.name != "lo"]
    if not cards:
        pytest.skip("this machine has no network card for VRRP")
    text = (PACKAGING / "keepalived" / "keepalived.conf").read_text()
    config, complaints = tmp_path / "keepalived.conf", tmp_path / "complaints"
    config.write_text(text.replace("eth0", sorted(cards)[0]))
    ended = subprocess.run(
        [str(_keepalived()), f"--config-test={complaints}", "-f", str(config)],
        capture_output=True, text=True, check=False, timeout=30, start_new_session=True,
    )  # fmt: skip
    said = complaints.read_text() if complaints.exists() else ""
    assert not said, said
    # 2.2 ends its own process group after a test that found nothing.
    assert ended.returncode in (0, -signal.SIGTERM), ended


def documents() -> list[tuple[str, Any]]:
    yaml = pytest.importorskip("yaml")
    return [
        (f"{file.name} {document['kind']} {document['metadata']['name']}", document)
        for file in MANIFESTS
        for document in yaml.safe_load_all(file.read_text())
    ]


def test_kubernetes_schemas_take_the_manifests() -> None:
    validate = pytest.importorskip("kubernetes_validate")
    checked = 0
    for name, document in documents():
        for version in (OLDEST_KUBERNETES, validate.latest_version()):
            try:
                validate.validate(document, version, strict=True)
            except validate.ValidationError as error:
                pytest.fail(f"{name}: {error}")
        checked += 1
    assert checked >= 5


def test_the_manifests_fit_together_and_the_agent_takes_its_configuration() -> None:
    by_kind: dict[str, list[Any]] = {}
    for _, document in documents():
        by_kind.setdefault(document["kind"], []).append(document)
    configuration = by_kind["ConfigMap"][0]["data"]["cloudstack-hyperv.toml"]
    settings = settings_from(tomllib.loads(configuration))
    pod = by_kind["Deployment"][0]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    services = {service["metadata"]["name"]: service["spec"] for service in by_kind["Service"]}
    assert len(settings.hosts) == len(services)
    for host in settings.hosts:
        assert ports[host.name] == host.listen_port
        service = services[host.name]
        assert service["loadBalancerIP"] == host.gateway_address
        assert service["ports"][0]["port"] == 8250, "a constant of the management server"
        assert service["ports"][0]["targetPort"] == host.name
        assert service["externalTrafficPolicy"] == "Local", "direct.allow sees who calls"
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted.keys() == {volume["name"] for volume in pod["volumes"]}
    secrets = next(v for v in pod["volumes"] if v["name"] == "passwords")["secret"]
    assert secrets["defaultMode"] & 0o007 == 0, "the agent refuses what everyone can read"
    for host in settings.hosts:
        assert host.winrm.password is not None
        assert str(host.winrm.password.file).startswith(mounted["passwords"])
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    grace = pod["terminationGracePeriodSeconds"]
    assert grace > settings.direct.drain_timeout + 30


def test_keepalived_s_addresses_are_named_in_the_document() -> None:
    text = (PACKAGING.parent / "docs" / "scaling.md").read_text()
    config = (PACKAGING / "keepalived" / "keepalived.conf").read_text()
    for address in ("10.1.1.120", "10.1.1.121"):
        assert address in config
        assert address in text
