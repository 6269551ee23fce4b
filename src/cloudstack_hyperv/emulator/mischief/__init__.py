"""Faults on purpose for an emulated host, from tests, rules, or a control port.

`Mischief` (module `mischief`) is the Python API, `ControlPort` (module `control`) the same over
HTTP; `actions` lists what can go wrong, `rules` says to which call it happens, `call_file` writes
every call of a host to a file.
"""

from cloudstack_hyperv.emulator.mischief.failure import MischiefFailed
from cloudstack_hyperv.emulator.mischief.mischief import Mischief
from cloudstack_hyperv.emulator.mischief.rules import BadRule, Firing, Rule, rule_of_name

__all__ = ["BadRule", "Firing", "Mischief", "MischiefFailed", "Rule", "rule_of_name"]
