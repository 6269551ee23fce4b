"""What a refusal means: texts as the management server's source has them."""

import pytest

from cloudstack_hyperv.doors.agent.refusal import UNKNOWN, meaning


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (
            "com.cloud.utils.exception.CloudRuntimeException: No resource state adapter response",
            "adapter",
        ),
        ("Unable to connect host: host is being removed", "removed"),
        ("Cannot transit host: wrong hypervisor type", "type Hyperv"),
        (
            (
                "The private ip address of the server (10.1.1.20/24) is not compatible with the "
                "CIDR of pod: p1 and zone: z1"
            ),
            "pod's network",
        ),
        ("Could not find the cluster with name", "cluster"),
        ("Please specify a valid pod", "pod"),
        ("Unknown data center: 9", "zone"),
        ("The ip address is already in use by another host", "address"),
        ("something else entirely", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_meanings(reason: str, word: str) -> None:
    assert word in meaning(reason)
