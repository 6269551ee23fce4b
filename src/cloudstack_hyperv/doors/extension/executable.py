#!/usr/bin/python3 -IS
"""The executable of CloudStack's HyperV extension, for type External hosts (4.21 and later).

Called as `<executable> <action> <payload file> [seconds]`.  It hands the call to the agent on this
machine over a local socket and passes on what the agent answers; without an agent it starts
`cloudstack-hyperv`, which goes straight to the host.  The exit status decides; nothing is written
to standard error, because the management server merges it into the output.

This file stands alone: the management server runs it once a VM and ping, so it imports next to
nothing, and it is the same on all management servers, which compare its checksum.  It runs with
Python 3.6 and later, whatever the system has.

The exchange: `CSHV1 <bytes of action> <bytes of payload> <seconds>\\n`, action, payload; back come
the exit status on a line of its own and the output, until the connection closes.  The agent takes
a connection that closes earlier for a killed process and undoes what it was doing.
"""

import os
import socket
import sys

SOCKET = "/run/cloudstack-hyperv/extension.sock"
PROGRAMS = (
    "/usr/bin/cloudstack-hyperv",
    "/usr/local/bin/cloudstack-hyperv",
    "/opt/cloudstack-hyperv/bin/cloudstack-hyperv",
)
DEFAULT_SECONDS = 1800
MOST_PAYLOAD = 16 * 1024 * 1024


class NoAgent(Exception):
    """No agent listens at the socket; nothing was sent."""


def ask_agent(path: str, action: str, payload: bytes, seconds: int) -> "tuple[int, bytes]":
    """Let the agent do it and return exit status and output.

    Raises NoAgent when there is none, OSError when the connection breaks: what came of the action
    is then unknown.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with connection:
        connection.settimeout(seconds)
        try:
            connection.connect(path)
        except OSError as error:
            raise NoAgent(str(error)) from None
        name = action.encode("utf-8", "surrogateescape")
        head = "CSHV1 %d %d %d\n" % (len(name), len(payload), seconds)  # noqa: UP031 - as old as it runs
        connection.sendall(head.encode("ascii") + name + payload)
        pieces = []
        while True:
            piece = connection.recv(65536)
            if not piece:
                break
            pieces.append(piece)
    status, _, output = b"".join(pieces).partition(b"\n")
    if not status.isdigit():
        raise OSError("the agent ended in the middle of the action")
    return int(status), output


def read_arguments(arguments: "list[str]") -> "tuple[str, str, int]":
    """Return action, payload file and seconds; raises ValueError."""
    if len(arguments) not in (2, 3):
        raise ValueError("usage: <action> <payload file> [seconds]")
    seconds = arguments[2] if len(arguments) == 3 else "0"
    if not (seconds.isascii() and seconds.isdigit()):
        raise ValueError("the time limit is a whole number of seconds")
    return arguments[0], arguments[1], int(seconds) or DEFAULT_SECONDS


def read_file(path: str) -> bytes:
    """Read the payload; raises OSError, ValueError."""
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib takes longer to import than all of this
        content = file.read(MOST_PAYLOAD + 1)
    if len(content) > MOST_PAYLOAD:
        raise ValueError("the payload is larger than %d bytes" % MOST_PAYLOAD)  # noqa: UP031 - see above
    return content


def tell(status: int, output: bytes) -> int:
    """Write the output and return the exit status."""
    sys.stdout.buffer.write(output + b"\n" if output else b"")
    sys.stdout.buffer.flush()
    return status


def fail(reason: str) -> int:
    """Tell of a failure in the form that the actions have."""
    import json

    return tell(1, json.dumps({"status": "error", "error": reason}).encode("ascii"))


def main() -> int:
    """Ask the agent, else start the program."""
    try:
        action, path, seconds = read_arguments(sys.argv[1:])
        payload = read_file(path)
    except (OSError, ValueError) as error:
        return fail(str(error))
    try:
        return tell(*ask_agent(SOCKET, action, payload, seconds))
    except NoAgent as error:
        reason = str(error)
    except OSError as error:
        return fail("the connection to the agent broke: %s" % error)  # noqa: UP031 - see above
    for program in PROGRAMS:
        if os.access(program, os.X_OK):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os.execv(  # noqa: S606 - no shell, and the program is one of the list
                program, [program, "extension", "--straight", action, path, str(seconds)]
            )
    return fail(
        "no agent listens at %s (%s), and cloudstack-hyperv is not installed on this machine"  # noqa: UP031 - see above
        % (SOCKET, reason)
    )


if __name__ == "__main__":
    sys.exit(main())
