"""Each supported command has tests named after it that send it to the resource."""

import re
from pathlib import Path

import pytest

from cloudstack_hyperv.resource.handlers import HandlerRow, supported_commands

TESTS = Path(__file__).parents[1]
NAMES = {
    name
    for path in TESTS.rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
}


@pytest.mark.parametrize("row", supported_commands(), ids=lambda row: row.command.__name__)
def test_there_are_tests_named_after_the_command(row: HandlerRow) -> None:
    wanted = f"test{row.command.__name__.lower()}"
    assert any(name.replace("_", "").startswith(wanted) for name in NAMES), (
        f"no test is named after {row.command.__name__}, such as test_get_vm_stats_command_..."
    )
