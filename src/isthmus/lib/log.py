"""Structured logs on standard error: one JSON object a line, or coloured text on a terminal.

A message is a constant; what varies goes in fields. Nothing secret is ever a field.
"""

import logging
import sys

import structlog

from isthmus.lib.errors import UserError

_LEVELS = ("debug", "info", "warning", "error")


def configure_logging(*, level: str = "info", json: bool | None = None) -> None:
    """Set the process's logging up once. `json=None` means: text on a terminal, JSON elsewhere.

    Raises UserError (usage) for a level that is none.
    """
    if level not in _LEVELS:
        raise UserError(f"--log-level is {level!r}; write {', '.join(_LEVELS)}.", exit_code=2)
    as_json = not sys.stderr.isatty() if json is None else json
    renderer = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=True)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
