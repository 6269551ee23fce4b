"""docs/emulated-host.md says what the emulated host's classes and methods do."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from cloudstack_hyperv.emulator.door.leniencies import LENIENCIES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "emulated_host_table", ROOT / "scripts" / "emulated_host_table.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_table_of_classes_is_up_to_date(script: ModuleType) -> None:
    """If this fails: `.venv/bin/python scripts/emulated_host_table.py --write`."""
    text = script.TARGET.read_text(encoding="utf-8")
    assert text == script.document(text)


def test_every_class_with_a_source_of_its_own_exists(script: ModuleType) -> None:
    known = {each.name for each in script.load_schema()}
    assert script.CLIENT_CODE.keys() | script.GUESSES.keys() | script._recorded() <= known


def test_a_document_without_markers_is_refused(script: ModuleType) -> None:
    with pytest.raises(ValueError, match="markers"):
        script.document("# Nothing to replace\n")


def test_every_leniency_says_where_windows_is_known_to_have_it() -> None:
    assert len(LENIENCIES) > 10
    for each in LENIENCIES.values():
        assert each.what
        assert each.source
