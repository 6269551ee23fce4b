"""Refusals of the CIM engine that are no HRESULT of WMI: the door chooses the WS-Man fault.

What the engine raises, all in all:

- `CimFault` (see `provider`): WMI itself or a provider refuses.  INVALID_NAMESPACE, INVALID_CLASS,
  INVALID_QUERY, INVALID_METHOD, INVALID_METHOD_PARAMETERS, INVALID_OBJECT_PATH, NOT_FOUND,
  NOT_SUPPORTED, FAILED, and whatever a provider chose.
- `SelectorFault`: the selectors do not address one instance; `problem` says why.
- `ArgumentFault`: an argument or property that a client sent does not fit the class.
- `ProviderBug`: a provider handed out something that its class does not allow.  This is a mistake
  in the emulated host, never an answer: the door logs it and reports an internal error.
"""

from __future__ import annotations

import enum


class SelectorProblem(enum.Enum):
    """Why selectors address no instance although the class exists."""

    UNKNOWN_NAME = "a selector names no property that could be a key"
    INCOMPLETE = "some keys are given and some are missing"
    BAD_VALUE = "the text of a selector is not of its key's type"
    AMBIGUOUS = "no selectors, and the class has not exactly one instance"


class SelectorFault(Exception):
    """The selectors do not address one instance of the class."""

    def __init__(self, problem: SelectorProblem, class_name: str, selector: str = "") -> None:
        about = f" ({selector})" if selector else ""
        super().__init__(f"{class_name}: {problem.value}{about}")
        self.problem = problem
        self.class_name = class_name
        self.selector = selector


class ArgumentFault(Exception):
    """A parameter of a method, or a property of Put or Create, does not fit its declaration."""

    def __init__(self, where: str, name: str, problem: str) -> None:
        super().__init__(f"{where}: {name}: {problem}")
        self.where = where
        self.name = name
        self.problem = problem


class ProviderBug(RuntimeError):
    """A provider broke the contract of `provider.Provider` or its own class definition."""
