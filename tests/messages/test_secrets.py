"""Nothing secret reaches a log: neither from `redacted` nor from `repr` nor from an error."""

import json
import pkgutil
from importlib import import_module
from typing import Any

import msgspec
import pytest

import cloudstack_hyperv.messages.objects
from cloudstack_hyperv.messages import decode_answers, decode_command, masked_text, redacted
from cloudstack_hyperv.messages.secrets import MASK, SECRET_FIELDS
from cloudstack_hyperv.messages.wire import WireObject

for module in pkgutil.iter_modules(cloudstack_hyperv.messages.objects.__path__):
    import_module(f"cloudstack_hyperv.messages.objects.{module.name}")

INVENTED_SECRETS = (
    "s3cr3t",
    "31f82f29aff646eb",
    "h7fGk2LmNpQr5sTv",
    "aB3dEf",
    "AdMiN123",
    "BEGIN RSA PRIVATE KEY",
    "sample-privKey",
    "sample-secretKey",
    "sample-accessKey",
    "sample-presharedKey",
    "sample-_ticket",
    "sample-isoData",
    "sample-mountOptions",
    "sample-token",
)
PASSPHRASE_BYTES = "112,97,115,115"


def all_classes(base: type[WireObject] = WireObject) -> dict[str, type[WireObject]]:
    found = {base.__name__: base}
    for cls in base.__subclasses__():
        found |= all_classes(cls)
    return found


@pytest.mark.parametrize("class_name", SECRET_FIELDS)
def test_the_table_names_real_fields(class_name: str) -> None:
    cls = all_classes()[class_name]
    assert SECRET_FIELDS[class_name] <= {info.encode_name for info in msgspec.structs.fields(cls)}


def shown(item: WireObject) -> list[str]:
    return [
        json.dumps(redacted(item)),
        repr(item),
        str(item),
        f"{[item]}",
        str(item.__rich_repr__()),
    ]


def test_no_invented_secret_of_the_commands_is_shown(command_vector: tuple[str, bytes]) -> None:
    command = decode_command(*command_vector)
    for text in shown(command):
        assert [secret for secret in INVENTED_SECRETS if secret in text] == []
        assert PASSPHRASE_BYTES not in text.replace(" ", "")


def test_no_invented_secret_of_the_answers_is_shown(answer_vector: tuple[str, bytes]) -> None:
    for answer in decode_answers(answer_vector[1]):
        for text in shown(answer):
            assert [secret for secret in INVENTED_SECRETS if secret in text] == []


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("cifs://h/s?user=u&password=p&domain=D", "cifs://h/s?user=u&password=***&domain=D"),
        ("cifs://h/s?password=p&q/r=t&user=u", "cifs://h/s?password=***&user=u"),
        ("SMB://h/s?password=p&domain=D/?ROLE=Primary", "SMB://h/s?password=***&domain=D/?ROLE=Primary"),
        ("SMB://h/s?password=p/?ROLE=Primary", "SMB://h/s?password=***/?ROLE=Primary"),
        ("smb://user:p@ss@h/share", "smb://user:***@h/share"),
        ("smb://user@h/share", "smb://user@h/share"),
        ("mount: bad PassWord=a b", "mount: bad PassWord=***"),
        ("https://h/x?secretKey=k", "https://h/x?secretKey=***"),
        ("/primary", "/primary"),
        ("vlan://261", "vlan://261"),
        ("i-2-3-VM", "i-2-3-VM"),
    ],
)  # fmt: skip
def test_passwords_in_texts(text: str, masked: str) -> None:
    assert masked_text(text) == masked


def test_what_is_not_secret_stays_readable(vectors: Any) -> None:
    text = (vectors / "commands/StartCommand.json").read_bytes()
    shown_vm = redacted(decode_command("com.cloud.agent.api.StartCommand", text))["vm"]
    assert shown_vm["name"] == "i-2-17-VM"
    assert shown_vm["vncPassword"] == MASK
    assert shown_vm["nics"][0]["mac"] == "02:00:51:2c:00:0e"
    assert shown_vm["nics"][0]["broadcastUri"] == "vlan://261"
    (volume,) = shown_vm["disks"][0]["data"].values()
    (store,) = volume["dataStore"].values()
    assert store["path"] == "/primary?user=cloud&password=***&domain=EXAMPLE"


def test_keys_that_speak_for_themselves_are_masked_wherever_they_stand() -> None:
    command = decode_command(
        "com.cloud.agent.api.StopCommand",
        json.dumps({
            "vmName": "i-2-3-VM",
            "fromTheFuture": "hunter2",
            "_details": {"chapInitiatorSecret": "hunter2", "managed": "true"},
            "externalDetails": {"host": {"password": "hunter2", "url": "10.1.1.20"}},
            "volumesToDisconnect": [{"a": "b", "Authorization": "hunter2"}],
        }),
    )  # fmt: skip
    assert all("hunter2" not in text for text in shown(command))
    assert redacted(command)["fromTheFuture"] == MASK
    assert redacted(command)["_details"]["managed"] == "true"
    assert redacted(command)["externalDetails"]["host"]["url"] == "10.1.1.20"


def test_masking_takes_linear_time() -> None:
    masked_text("password=" * 100_000)
    masked_text("://:" * 20_000 + "@")
    masked_text("a" * 1_000_000 + "=")
