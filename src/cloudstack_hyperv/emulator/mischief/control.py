"""The control port: mischief over HTTP and JSON, for test programs in other processes.

It listens on 127.0.0.1 only and is off unless asked for.  It has no login: whoever can open a
connection to it from this machine may break the emulated host.  Against web pages that try to
reach it through a browser it takes only requests that name it as a loopback host, and bodies only
as application/json.

    # the second CreateVirtualHardDisk loses its connection after the disk was made
    curl -sX POST localhost:5999/rules -H 'Content-Type: application/json' -d '
        {"name": "lost", "class": "Msvm_ImageManagementService",
         "method": "CreateVirtualHardDisk", "nth": 2,
         "action": {"do": "drop", "after_effect": true}}'

    # the same by the name of a case
    curl -sX POST localhost:5999/rules -H 'Content-Type: application/json' -d '
        "lost-after@Msvm_ImageManagementService.CreateVirtualHardDisk#2"'

    curl -s localhost:5999/rules          # rules, how many calls they matched, what they did
    curl -sX DELETE localhost:5999/rules/lost     # one; without a name: all
    curl -s localhost:5999/faults         # names of faults that need no argument

    # at once: a machine is turned off behind the agent's back
    curl -sX POST localhost:5999/do -H 'Content-Type: application/json' -d '
        {"do": "stop-vm", "vm": "i-2-3-VM"}'

    # time, where the host was started with --virtual-time
    curl -s localhost:5999/clock
    curl -sX POST localhost:5999/clock -H 'Content-Type: application/json' -d '{"advance": 300}'

    curl -s 'localhost:5999/calls?after=120'      # calls with a number above 120, secrets masked

Answers are 200 with JSON; 400 what cannot be read or makes no sense, 404 no such thing, 409 the
host refused; those have a body {"error": "..."}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from cloudstack_hyperv.emulator.mischief.actions import FAULTS, HostAction
from cloudstack_hyperv.emulator.mischief.call_file import record_as_json
from cloudstack_hyperv.emulator.mischief.failure import MischiefFailed
from cloudstack_hyperv.emulator.mischief.mischief import Mischief
from cloudstack_hyperv.emulator.mischief.rules import BadRule, Rule

LOOPBACK: Final = "127.0.0.1"
_NAMES: Final = frozenset({"127.0.0.1", "localhost"})
_LARGEST_BODY: Final = 64 * 1024
_ENDING_S: Final = 1.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ClockMove(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /clock."""

    advance: float
    """Seconds, not negative."""


class ControlPort:
    """Serves mischief on one host; `start` and `stop` it."""

    def __init__(self, mischief: Mischief) -> None:
        self._mischief = mischief
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> int:
        """Listen; return the port.  Raises OSError when it is taken."""
        app = web.Application(middlewares=[_guarded], client_max_size=_LARGEST_BODY)
        app.add_routes(
            [
                web.get("/rules", self._rules),
                web.post("/rules", self._add_rule),
                web.delete("/rules", self._remove_rules),
                web.delete("/rules/{name:.+}", self._remove_rule),
                web.get("/faults", self._faults),
                web.post("/do", self._do),
                web.get("/clock", self._clock),
                web.post("/clock", self._advance),
                web.get("/calls", self._calls),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_ENDING_S)
        await runner.setup()
        self._runner = runner
        await web.TCPSite(runner, LOOPBACK, port).start()
        address = runner.addresses[0]
        return int(address[1])

    async def stop(self) -> None:
        """Close the listener and its connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _rules(self, request: web.Request) -> web.Response:
        del request
        mischief = self._mischief
        shown = [
            {"rule": msgspec.to_builtins(rule), "seen": mischief.rules.seen(rule.name)}
            for rule in mischief.rules
        ]
        firings = [
            {"rule": f.rule, "call": f.call, "took_effect": f.took_effect, "note": f.note}
            for f in mischief.firings
        ]
        return web.json_response({"rules": shown, "firings": firings})

    async def _add_rule(self, request: web.Request) -> web.Response:
        rule = msgspec.json.decode(await request.read(), type=Rule | str)
        made = self._mischief.add(rule)
        return web.json_response(msgspec.to_builtins(made))

    async def _remove_rules(self, request: web.Request) -> web.Response:
        del request
        self._mischief.rules.clear()
        return web.json_response({})

    async def _remove_rule(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if not self._mischief.rules.remove(name):
            return _error(404, f"no rule {name!r}")
        return web.json_response({})

    async def _faults(self, request: web.Request) -> web.Response:
        del request
        return web.json_response(
            {name: msgspec.to_builtins(action) for name, action in FAULTS.items()}
        )

    async def _do(self, request: web.Request) -> web.Response:
        action = msgspec.json.decode(await request.read(), type=HostAction)
        await self._mischief.do(action)
        return web.json_response({})

    async def _clock(self, request: web.Request) -> web.Response:
        del request
        return web.json_response({"now": self._mischief.now().isoformat()})

    async def _advance(self, request: web.Request) -> web.Response:
        move = msgspec.json.decode(await request.read(), type=ClockMove)
        if not 0 <= move.advance < float("inf"):
            return _error(400, "advance is a number of seconds, not negative")
        await self._mischief.advance(move.advance)
        return await self._clock(request)

    async def _calls(self, request: web.Request) -> web.Response:
        after = request.query.get("after", "0")
        if not after.isascii() or not after.isdigit():
            return _error(400, "after is the number of a call")
        records: list[dict[str, Any]] = [
            record_as_json(record)
            for record in self._mischief.calls.records
            if record.call.number > int(after)
        ]
        return web.json_response(records)


@web.middleware
async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what a browser could be made to send; turn refusals into statuses."""
    if request.host.rpartition(":")[0] not in _NAMES and request.host not in _NAMES:
        return _error(400, "the control port answers to 127.0.0.1 and localhost only")
    if request.method == "POST" and request.content_type != "application/json":
        return _error(400, "bodies are application/json")
    try:
        return await handler(request)
    except (msgspec.MsgspecError, BadRule, UnicodeDecodeError) as problem:
        return _error(400, str(problem))
    except MischiefFailed as failure:
        return _error(409, str(failure))
    except web.HTTPException as refusal:
        return _error(refusal.status, refusal.reason)


def _error(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)
