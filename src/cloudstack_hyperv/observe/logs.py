"""Structured logs on stderr: text for people, JSON for machines; stdout belongs to commands.

Every line carries what `structlog.contextvars` holds: CloudStack's `logid`, host, command.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog

from cloudstack_hyperv.observe.redaction import redact_event

LEVELS = ("debug", "info", "warning", "error")


def configure_logs(level: str, form: str, stream: TextIO | None = None) -> None:
    """Send logs of `level` and above to `stream` (stderr) as "text" or "json"."""
    if level not in LEVELS:
        raise ValueError(f"log level {level!r} is none of {', '.join(LEVELS)}")
    if form not in ("text", "json"):
        raise ValueError(f"log format {form!r} is neither text nor json")
    target = stream or sys.stderr
    number = logging.getLevelNamesMapping()[level.upper()]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(sort_keys=False)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=target.isatty())
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact_event,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=target),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING) if level != "debug" else number)
    # These write request bodies or tokens at debug level.
    for noisy in ("spnego", "asyncio", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
