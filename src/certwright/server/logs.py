"""Logging: one line per event to standard error; words on a terminal, JSON elsewhere. Never secrets.

Every room logs through structlog with an event name in the past tense. What libraries write through `logging` is
brought into the same lines; below warning it is dropped.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final

import structlog

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(level: str = "info", form: str = "auto") -> None:
    """Set up the process's logging. `form` is `auto`, `console` or `json`."""
    colours = sys.stderr.isatty()
    if form == "auto":
        form = "console" if colours else "json"
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if form == "json":
        tracer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # locals may hold secrets
        shared.append(structlog.processors.ExceptionRenderer(tracer))
        renderer: Any = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=colours, exception_formatter=structlog.dev.plain_traceback, pad_event_to=32
        )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_ToStructlog()]
    root.setLevel(logging.WARNING)


class _ToStructlog(logging.Handler):
    """What a library logs, as an event of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger(record.name)
        exc_info = record.exc_info if record.exc_info and record.exc_info[0] else None
        logger.log(
            record.levelno,
            "library_message",
            logger=record.name,
            message=record.getMessage()[:2000],
            exc_info=exc_info,
        )
