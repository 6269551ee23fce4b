"""What can be wrong with a message, said so that an operator can act and nothing leaks.

Both errors are about the *shape* of what arrived, never about its content: their text names
the JSON path, what was expected and the JSON type that stood there instead.  The value itself
is never part of it, because any value may be a password.
"""

from typing import Final, Self

_LONGEST_SHOWN_NAME: Final = 80


class MessageError(ValueError):
    """A message cannot be understood."""


class UnknownCommandClass(MessageError):
    """A class name that no command of CloudStack 4.11 to 4.22 has, or that is no command."""

    def __init__(self, class_name: str) -> None:
        super().__init__(f"no command class is called {shown_name(class_name)}")
        self.class_name = class_name


class MalformedMessage(MessageError):
    """JSON that is broken, or whose shape is not that of the class it claims to be."""

    def __init__(self, problem: str, path: tuple[str, ...] = ()) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = path

    def inside(self, step: str) -> Self:
        """Return the same problem as seen one level further out; `step` is `.name` or `[3]`."""
        return type(self)(self.problem, (step, *self.path))

    def __str__(self) -> str:
        return f"${''.join(self.path)}: {self.problem}"


def shown_name(name: str) -> str:
    """Quote a name that came from outside: no control characters, bounded length."""
    if len(name) > _LONGEST_SHOWN_NAME:
        name = name[:_LONGEST_SHOWN_NAME] + "..."
    return ascii(name)
