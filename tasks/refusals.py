"""Refusals: how a flow ends that was asked for something wrong, in our words and without a traceback."""

import logging
from typing import Any

from prefect.client.schemas.objects import State
from prefect.exceptions import FailedRun
from prefect.states import Failed

#: name of the state in which a flow ends that was refused: nothing was moved
REFUSED = "Refused"
#: loggers of Prefect that tell of an end as of a crash
_LOUD = ("prefect.flow_runs", "prefect.task_runs", "prefect.engine")
#: what was refused in this process
_said: set[str] = set()


def refused(message: str) -> State[Any]:
    """Return the state of a refusal; the run's log says it once, as the state does."""
    _said.add(message)
    for name in _LOUD:
        logging.getLogger(name).addFilter(_is_news)
    return Failed(name=REFUSED, message=message)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line says more than the refusal: Prefect logs where its engine raised a failed state."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, FailedRun) and str(error) in _said)


__all__ = ["REFUSED", "refused"]
