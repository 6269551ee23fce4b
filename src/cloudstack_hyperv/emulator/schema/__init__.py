"""The class definitions of the emulated host: MOF files that a person reads and corrects.

`load_schema` reads and compiles them once a process; `load_schema().for_release("2019")` is what
a host of that release has.
"""

from __future__ import annotations

import functools
from importlib import resources

from cloudstack_hyperv.emulator.cim.compiler import compile_classes
from cloudstack_hyperv.emulator.cim.mof import MofReader
from cloudstack_hyperv.emulator.cim.schema import Schema

__all__ = ["load_schema", "mof_files"]

_QUALIFIERS = "qualifiers.mof"


def mof_files() -> dict[str, str]:
    """Return the text of every MOF file by name, the one that declares the qualifiers first."""
    folder = resources.files(__name__)
    names = sorted(each.name for each in folder.iterdir() if each.name.endswith(".mof"))
    names.sort(key=lambda name: name != _QUALIFIERS)
    return {name: (folder / name).read_text(encoding="utf-8") for name in names}


@functools.lru_cache(maxsize=1)
def load_schema() -> Schema:
    """Return the schema of all releases together; raises MofError or SchemaError with the place."""
    reader = MofReader()
    texts = [each for name, text in mof_files().items() for each in reader.read(text, name)]
    return Schema(compile_classes(texts))
