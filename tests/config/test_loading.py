"""The TOML file: unknown keys name the nearest valid one, secrets stay secret."""

from pathlib import Path

import pytest

from cloudstack_hyperv.config import (
    ConfigurationError,
    SecretSource,
    load_settings,
    resolve_secret,
    settings_from,
)

WINRM = {"address": "10.1.1.20", "user": "Administrator", "password": {"value": "planted-secret"}}


def host(**changes: object) -> dict[str, object]:
    return {"name": "hv1", "winrm": WINRM, **changes}


def test_a_small_file_is_enough(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(
        '[[hosts]]\nname = "hv1"\n[hosts.winrm]\naddress = "10.1.1.20"\nuser = "Administrator"\n'
        'password = { environment = "HV1_PASSWORD" }\n[direct]\nallow = ["10.1.1.2"]\n'
    )
    settings = load_settings(file)
    assert settings.hosts[0].winrm.address == "10.1.1.20"
    assert settings.direct.port == 8250


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"hosts": [host(listn="10.0.0.1")]}, ["hosts.listn", "did you mean listen?"]),
        ({"direct": {"alow": []}}, ["direct.alow", "did you mean allow?"]),
        ({"zzz": 1}, ["unknown key zzz", "valid keys"]),
        ({"hosts": [host(winrm={**WINRM, "prot": 1})]}, ["hosts.winrm.prot", "port"]),
        ({"direct": {"port": 70000}}, ["65535"]),
        ({"direct": {"port": "8250"}}, ["direct.port", "int"]),
        ({"direct": {"allow": ["10.1.1.300"]}}, ["direct.allow", "10.1.1.300"]),
        ({"hosts": [host(listen="gateway")]}, ["listen", "gateway"]),
        ({"hosts": [host(), host()]}, ["name hv1"]),
        (
            {"hosts": [host(winrm={**WINRM, "transport": "http", "authentication": "basic"})]},
            ["clear", "https"],
        ),
        ({"hosts": [host(winrm={"address": "h", "user": "u"})]}, ["password"]),
        ({"storage": {"stores": [{"url": "cifs://h/s?user=u&password=p"}]}}, ["query"]),
        ({"storage": {"clone": "linked"}}, ["full or differencing"]),
    ],
)
def test_what_is_wrong_is_named(document: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings_from(document)
    for word in words:
        assert word in str(caught.value)
    assert "planted-secret" not in str(caught.value)


def test_a_file_that_is_no_toml(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("hosts = [")
    with pytest.raises(ConfigurationError, match="not TOML"):
        load_settings(file)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings(tmp_path / "absent.toml")


def test_secrets_by_file_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "password"
    file.write_text("from-file\nsecond line\n")
    file.chmod(0o600)
    monkeypatch.setenv("AGENT_PASSWORD", "from-environment")
    assert resolve_secret(SecretSource(file=str(file)), purpose="t").reveal() == "from-file"
    assert (
        resolve_secret(SecretSource(environment="AGENT_PASSWORD"), purpose="t").reveal()
        == "from-environment"
    )
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod"):
        resolve_secret(SecretSource(file=str(file)), purpose="t")
    with pytest.raises(ConfigurationError, match="not set"):
        resolve_secret(SecretSource(environment="AGENT_NO_SUCH"), purpose="t")
    with pytest.raises(ConfigurationError, match="exactly one"):
        resolve_secret(SecretSource(value="a", environment="B"), purpose="t")


def test_a_secret_does_not_show() -> None:
    settings = settings_from({"hosts": [host()]})
    assert "planted-secret" not in repr(settings)
    secret = resolve_secret(settings.hosts[0].winrm.password, purpose="t")
    assert "planted-secret" not in f"{secret} {secret!r}"
    assert secret.reveal() == "planted-secret"
