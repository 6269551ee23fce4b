"""A command that fails is answered in its own class: the server casts."""

import json

import pytest

from cloudstack_hyperv.messages import (
    COMMAND_CLASSES,
    Command,
    answer_class,
    command_class,
    decode_answers,
    encode_answers,
    failure_answer,
    unsupported_answer,
)
from cloudstack_hyperv.messages.answers.network import SecurityGroupRuleAnswer
from cloudstack_hyperv.messages.commands.network import SecurityGroupRulesCmd
from cloudstack_hyperv.messages.commands.vm import StopCommand

API = "com.cloud.agent.api"
STORAGE = "org.apache.cloudstack.storage.command"


@pytest.mark.parametrize("cls", COMMAND_CLASSES.values(), ids=lambda cls: cls.__name__)
def test_every_command_can_fail_in_its_own_class(cls: type[Command]) -> None:
    answer = failure_answer(cls, "the disk is full")
    assert type(answer) is answer_class(cls)
    (read,) = decode_answers(encode_answers([answer]))
    assert read == answer
    assert (read.result, read.details) == (False, "the disk is full")


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (f"{API}.CheckNetworkCommand", f"{API}.CheckNetworkAnswer"),
        (f"{API}.SetupCommand", f"{API}.SetupAnswer"),
        (f"{API}.MaintainCommand", f"{API}.MaintainAnswer"),
        (f"{API}.ModifyStoragePoolCommand", f"{API}.ModifyStoragePoolAnswer"),
        (f"{API}.StartCommand", f"{API}.StartAnswer"),
        (f"{API}.StopCommand", f"{API}.StopAnswer"),
        (f"{API}.RebootCommand", f"{API}.RebootAnswer"),
        (f"{API}.GetVmStatsCommand", f"{API}.GetVmStatsAnswer"),
        (f"{API}.GetVncPortCommand", f"{API}.GetVncPortAnswer"),
        (f"{API}.MigrateWithStorageCommand", f"{API}.MigrateWithStorageAnswer"),
        (f"{API}.storage.MigrateVolumeCommand", f"{API}.storage.MigrateVolumeAnswer"),
        (f"{API}.storage.ResizeVolumeCommand", f"{API}.storage.ResizeVolumeAnswer"),
        (f"{API}.CreateVMSnapshotCommand", f"{API}.CreateVMSnapshotAnswer"),
        (f"{API}.DeleteVMSnapshotCommand", f"{API}.DeleteVMSnapshotAnswer"),
        (f"{API}.RevertToVMSnapshotCommand", f"{API}.RevertToVMSnapshotAnswer"),
        (f"{STORAGE}.AttachCommand", f"{STORAGE}.AttachAnswer"),
        (f"{STORAGE}.DettachCommand", f"{STORAGE}.DettachAnswer"),
        (f"{STORAGE}.CopyCommand", f"{STORAGE}.CopyCmdAnswer"),
        (f"{STORAGE}.CreateObjectCommand", f"{STORAGE}.CreateObjectAnswer"),
        (f"{STORAGE}.DeleteCommand", f"{API}.Answer"),
        (f"{API}.PingRoutingCommand", f"{API}.Answer"),
    ],
)
def test_the_classes_that_the_server_casts_to(command: str, answer: str) -> None:
    assert answer_class(command_class(command)).java_class == answer


def test_a_failure_carries_what_the_answers_readers_need() -> None:
    command = SecurityGroupRulesCmd(vm_name="i-2-17-VM", seq_num=12, vm_id=17)
    answer = failure_answer(command, "no such VM")
    assert isinstance(answer, SecurityGroupRuleAnswer)
    (written,) = json.loads(encode_answers([answer]))[0].values()
    assert written["logSequenceNumber"] == 12
    assert written["vmId"] == 17
    assert written["reason"] == "PROGRAMMING_FAILED"


@pytest.mark.parametrize(
    "command", [StopCommand(vm_name="i-2-3-VM"), StopCommand, f"{API}.StopCommand"]
)
def test_unsupported_is_said_as_java_says_it(command: Command | type[Command] | str) -> None:
    answer = unsupported_answer(command)
    assert answer.java_class == f"{API}.UnsupportedAnswer"
    assert not answer.result
    assert answer.details == (
        f"Unsupported command issued: {API}.StopCommand.  "
        "Are you sure you got the right type of server?"
    )
