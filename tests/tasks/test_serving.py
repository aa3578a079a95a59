"""What serving tells people, and what it keeps to itself."""

import asyncio
import logging
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.prefect


@pytest.fixture
def proposed(monkeypatch):
    """`proposed(state)`: the lines of Prefect's runner about a run that the server put into this state."""
    from prefect.runner import _state_proposer as proposing

    from tasks import serving

    told = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    logger = logging.getLogger(serving._PROPOSER)
    monkeypatch.setattr(logger, "level", logging.INFO)
    logger.addHandler(handler)
    logger.addFilter(serving.is_news)

    def propose(state):
        async def answered(*_given, **_named):
            return state

        monkeypatch.setattr(proposing, "propose_state", answered)
        run = SimpleNamespace(id="a-run")
        assert not asyncio.run(proposing.StateProposer(client=None).propose_pending(run))
        return told

    yield propose
    logger.removeFilter(serving.is_news)
    logger.removeHandler(handler)


def test_a_look_that_gives_way_to_one_at_work_is_not_told_of(proposed):
    from prefect.states import Cancelled

    assert proposed(Cancelled()) == []


def test_a_run_that_is_not_started_for_another_reason_is_told_of(proposed):
    from prefect.states import Failed

    assert proposed(Failed()) == [
        "Aborted submission of flow run 'a-run': Server returned a non-pending state 'FAILED'"
    ]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:9/api", "nothing answers at http://127.0.0.1:9/api"),
        ("nonsense", "'nonsense' is no URL; write http://HOST:PORT/api"),
        ("", "no Prefect server is named: set PREFECT_API_URL, or use `lastgood up`"),
    ],
)
@pytest.mark.parametrize("words", [[], ["install"]])
def test_a_server_that_is_none_is_one_line_that_says_what_to_do(capsys, url, said, words):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from tasks import serving

    with temporary_settings({PREFECT_API_URL: url}), pytest.raises(SystemExit) as ended:
        serving.main((), words)
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith(f"Error: {said}")
