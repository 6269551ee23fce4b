"""One HTTP request of a management server, answered as it reads the answer.

`POST /api/HypervResource/<class>` with the bare command as body; the answer is an array of one
tagged answer (HypervDirectConnectResource.java).  Two commands have shapes of their own:
StartupCommand is an array of tagged commands both ways, and HostVmStateReportCommand answers an
array of one-entry maps.  What the server makes of a status decides ours:

* 404 reads as "unsupported command";
* 500 for a state report that failed: the server then skips this round, whereas a partial or an
  empty list would stop VMs;
* 500 for a Startup that failed: a half-filled one would be stored;
* everything else is 200 with the command's own answer class, `result` true or false.
"""

from __future__ import annotations

import asyncio
import json
from typing import Final

import structlog
from aiohttp import web

from cloudstack_hyperv.config import DirectDoorSettings
from cloudstack_hyperv.doors.direct.runs import CommandRuns
from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.messages import (
    MalformedMessage,
    UnknownCommandClass,
    command_class,
    decode_command,
    encode_answers,
    failure_answer,
)
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.resource import Resource
from cloudstack_hyperv.storage.host_files import HostFileError

log = structlog.get_logger(__name__)

PATH: Final = "/api/HypervResource/"
STARTUP: Final = "com.cloud.agent.api.StartupCommand"
STATE_REPORT: Final = "org.apache.cloudstack.HostVmStateReportCommand"


async def respond(
    request: web.BaseRequest, resource: Resource, runs: CommandRuns, settings: DirectDoorSettings
) -> web.Response:
    """Answer one request of a caller that may call."""
    if not request.path.startswith(PATH):
        return text(404, f"commands are posted to {PATH}<class>")
    if request.method != "POST":
        return text(405, "commands are posted")
    class_name = request.path[len(PATH) :]
    body = await _body(request, settings)
    if isinstance(body, web.Response):
        return body
    if class_name == STATE_REPORT:
        return await _state_report(resource)
    if class_name == STARTUP:
        return await _startup(resource, body)
    try:
        command = decode_command(class_name, body)
    except UnknownCommandClass:
        log.warning("unknown command class", class_name=class_name[:200])
        return text(404, "unknown command class")
    except MalformedMessage as error:
        log.warning("malformed command", class_name=class_name[:200], error=str(error))
        if not _is_json_object(body):
            return text(400, str(error))
        kind = command_class(class_name)
        return _json(encode_answers([failure_answer(kind, str(error))]))
    return _json(encode_answers([await runs.answer(resource, command, class_name, body)]))


def text(status: int, words: str, *, close: bool = False) -> web.Response:
    """Return a plain answer; `close` ends the connection, where the rest cannot be read."""
    response = web.Response(status=status, text=words + "\n")
    if close:
        response.force_close()
    return response


async def _body(request: web.BaseRequest, settings: DirectDoorSettings) -> bytes | web.Response:
    limit = settings.max_body_bytes
    too_large = f"a command has at most {limit} bytes"
    if (request.content_length or 0) > limit:
        return text(413, too_large, close=True)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(settings.body_timeout):
            async for chunk in request.content.iter_any():
                size += len(chunk)
                if size > limit:
                    return text(413, too_large, close=True)
                chunks.append(chunk)
    except TimeoutError:
        return text(408, "the body did not arrive in time", close=True)
    return b"".join(chunks)


async def _state_report(resource: Resource) -> web.Response:
    try:
        states = await resource.vm_state_report()
    except _DECLARED as error:
        log.warning("state report failed", error=_said(error))
        return text(500, "the host's VM states cannot be read now")
    except Exception:  # a report must be complete or an error; never partial
        log.exception("state report failed in a way nobody declares")
        return text(500, "the host's VM states cannot be read now")
    return _json(json.dumps([{name: state} for name, state in states.items()]).encode())


async def _startup(resource: Resource, body: bytes) -> web.Response:
    try:
        return _json(await resource.startup(body))
    except MalformedMessage as error:
        log.warning("malformed StartupCommand", error=str(error))
        return text(400, str(error))
    except _DECLARED as error:
        log.warning("startup failed: the host is not added", error=_said(error))
        return text(500, f"the host cannot be started up: {_said(error)}")
    except Exception:  # the server stores what it gets: answer whole or not at all
        log.exception("startup failed in a way nobody declares: the host is not added")
        return text(500, "the host cannot be started up; the agent's log has the details")


_DECLARED = (CommandRefused, HypervisorError, HostFileError, TimeoutError)


def _said(error: Exception) -> str:
    return str(error) or "the host did not answer in time"


def _is_json_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body.decode("utf-8", "replace")), dict)
    except ValueError:
        return False


def _json(content: bytes) -> web.Response:
    return web.Response(body=content, content_type="application/json", charset="utf-8")
