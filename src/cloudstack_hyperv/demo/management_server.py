"""A stock CloudStack 4.22 management server's way of calling a Hyper-V agent.

A new TLS connection for every request, any certificate accepted, the bare command as ISO-8859-1
JSON, no authentication (HypervDirectConnectResource.java).  Nothing here uses the agent's own
message types: what is sent is JSON as the server writes it, what comes back is read as it reads it.
"""

from __future__ import annotations

import http.client
import json
import ssl
import uuid
from dataclasses import dataclass
from typing import Any

REQUEST_TIMEOUT = 300.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: HTTP status, the parsed body and the log id that was sent."""

    status: int
    body: Any
    logid: str

    @property
    def answer_class(self) -> str:
        """Simple class name of the first answer, "" when there is none."""
        name = next(iter(self._first), "")
        return name.rsplit(".", 1)[-1]

    @property
    def answer(self) -> dict[str, Any]:
        """The first answer's content."""
        return next(iter(self._first.values()), {})

    @property
    def _first(self) -> dict[str, Any]:
        if isinstance(self.body, list) and self.body and isinstance(self.body[0], dict):
            return self.body[0]
        return {}


class ManagementServer:
    """Posts commands to one agent."""

    def __init__(self, address: str, port: int) -> None:
        self._address = address
        self._port = port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        # As the stock server: it trusts whatever answers at the host's address.
        self._context.verify_mode = ssl.CERT_NONE

    def post(self, class_name: str, command: Any) -> Reply:
        """Send one command and wait for its answer."""
        logid = uuid.uuid4().hex[:8]
        if isinstance(command, dict) and command:
            command = {**command, "contextMap": {"logid": logid, "job": "job-31/job-32"}}
        body = json.dumps(command, ensure_ascii=False, separators=(",", ":"))
        connection = http.client.HTTPSConnection(
            self._address, self._port, timeout=REQUEST_TIMEOUT, context=self._context
        )
        try:
            connection.request(
                "POST",
                f"/api/HypervResource/{class_name}",
                body.encode("iso-8859-1", "replace"),
                {
                    "content-type": "application/json",
                    "Connection": "Keep-Alive",
                    "User-Agent": "Apache-HttpClient/4.5.14 (Java/17.0.15)",
                },
            )
            response = connection.getresponse()
            raw = response.read()
        finally:
            connection.close()
        try:
            parsed = json.loads(raw)
        except ValueError:
            parsed = raw.decode("utf-8", "replace")
        return Reply(response.status, parsed, logid)
