"""The golden vectors: JSON made by the real classes of CloudStack 4.22."""

import json
from pathlib import Path
from typing import Any

import pytest

VECTORS = Path(__file__).parent / "vectors"

ARRAYS = ("StartupCommand.array.json", "StartupCommand.array-reply.json")
"""Bodies that are arrays of commands, unlike all other files of commands."""


def index(folder: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((VECTORS / folder / "index.json").read_text())
    return rows


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give `command_vector` and `answer_vector` one value a file: its class and its text."""
    for argument, folder in (("command_vector", "commands"), ("answer_vector", "answers")):
        if argument in metafunc.fixturenames:
            rows = [row for row in index(folder) if row["file"] not in ARRAYS]
            metafunc.parametrize(
                argument,
                [(row["class"], (VECTORS / folder / row["file"]).read_bytes()) for row in rows],
                ids=[row["file"].removesuffix(".json") for row in rows],
            )


@pytest.fixture
def vectors() -> Path:
    return VECTORS
