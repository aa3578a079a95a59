"""Twenty planted secrets are in no log and in no error; those that this process knows are not either."""

import io
import logging
import pickle
import subprocess
import sys

import pytest

from lastgood import redaction, secret
from lastgood.errors import CapReached, InvalidInput, LastgoodError
from tests.planted import CORES, PLANTED


@pytest.fixture
def log():
    """What the logger of this package writes, as text."""
    written, logger = io.StringIO(), logging.getLogger("lastgood")
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    yield written.getvalue
    logger.removeHandler(handler)


@pytest.mark.parametrize("name", PLANTED)
def test_no_log_holds_a_planted_secret(log, name):
    logger = logging.getLogger("lastgood")
    try:
        raise RuntimeError(f"cannot log in with {PLANTED[name]}")
    except RuntimeError as error:
        logger.exception("it failed: %s, %r", error, PLANTED[name])  # noqa: TRY401  what it says is the point
    assert "it failed: cannot log in with" in log()
    assert "Traceback" in log()
    assert CORES[name] not in log()


@pytest.mark.parametrize("name", PLANTED)
def test_no_error_holds_a_planted_secret(name):
    error = InvalidInput(f"{PLANTED[name]} can't be used")
    for shown in (str(error), repr(error), str(pickle.loads(pickle.dumps(error)))):
        assert CORES[name] not in shown
        assert "can't be used" in shown


def test_an_error_keeps_what_it_is_besides():
    error = CapReached("the ceiling of 3", cap="runs", level=3.0)
    assert (str(error), error.cap, error.level) == ("the ceiling of 3", "runs", 3.0)
    assert LastgoodError(7, "x").args == (7, "x")


def test_a_secret_that_was_read_by_reference_reads_as_its_reference(monkeypatch, tmp_path):
    path = tmp_path / "hook"
    path.write_text("plain words only\n")
    path.chmod(0o600)
    monkeypatch.setitem(redaction._revealed, "before", "x")  # what is added is taken out again
    monkeypatch.setattr(redaction, "_revealed", {})
    secret.reveal(f"file:{path}")
    assert redaction.clean("sent plain words only to it") == f"sent [file:{path}] to it"


def test_a_variable_that_is_named_like_a_secret_is_one(monkeypatch):
    monkeypatch.setenv("SHOP_API_KEY", "not-of-any-shape")
    monkeypatch.setenv("SHOP_NAME", "the corner shop")
    monkeypatch.setenv("SHORT_TOKEN", "abc")
    monkeypatch.setenv("KEY_SPACE", "production")
    assert redaction.clean("in production") == "in production"
    assert (
        redaction.clean("not-of-any-shape at the corner shop, abc")
        == "[env:SHOP_API_KEY] at the corner shop, abc"
    )


def test_a_command_that_dies_says_no_secret(tmp_path):
    code = (
        "import sys; from lastgood import redaction; sys.excepthook = redaction.excepthook\n"
        f"raise RuntimeError({PLANTED['stripe']!r})"
    )
    died = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert died.returncode == 1
    assert "RuntimeError: [secret]" in died.stderr
    assert PLANTED["stripe"] not in died.stderr


def test_a_record_with_a_bad_format_is_left_to_logging():
    record = logging.LogRecord("lastgood", logging.INFO, "", 1, "%d", ("x",), None)
    assert redaction.Filter().filter(record)
    assert record.args == ("x",)


def test_a_traceback_that_is_asked_for_where_there_is_none_is_left_out(log):
    logging.getLogger("lastgood").error("it was refused", exc_info=True)  # noqa: LOG014  as Prefect does
    assert log() == "it was refused\n"
