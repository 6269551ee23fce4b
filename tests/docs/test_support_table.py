"""docs/support.md and docs/contract.md say what the code does."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from cloudstack_hyperv.resource.vm_details import REFUSED, UNDERSTOOD

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "support_table", ROOT / "scripts" / "support_table.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_support_table_is_up_to_date(script: ModuleType) -> None:
    """If this fails: `.venv/bin/python scripts/support_table.py --write`."""
    assert (ROOT / "docs" / "support.md").read_text(encoding="utf-8") == script.table()


def test_support_table_has_every_supported_command_once(script: ModuleType) -> None:
    names = [row.name for group in script.COMMANDS.values() for row in group]
    assert len(names) == len(set(names))
    assert script.supported_names() <= set(names)


def test_support_table_gives_a_reason_for_every_command_that_is_not_carried_out(
    script: ModuleType,
) -> None:
    supported = script.supported_names()
    without = [
        row.name
        for group in script.COMMANDS.values()
        for row in group
        if row.name not in supported and not row.reason
    ]
    assert without == []


def test_contract_lists_the_vm_details_that_are_understood_and_refused() -> None:
    text = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    for name in (*UNDERSTOOD, *REFUSED):
        assert f"`{name}`" in text
