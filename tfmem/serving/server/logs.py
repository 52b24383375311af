"""Logs as JSON lines on standard error."""

import logging

from pythonjsonlogger.json import JsonFormatter


def log_as_json() -> None:
    """Sends tfmem's log there: what happened, when, how severe, and its own fields such as the model."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonFormatter(
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        )
    )
    log = logging.getLogger("tfmem")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    # aiohttp gives a traceback for every malformed request; tfmem logs by itself what fails inside of it.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
