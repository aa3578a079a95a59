"""The real OFREP provider of Python against the service; `make interop` tries that of JavaScript too."""

import pytest
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import Reason

from lastgood.openfeature import Provider

#: what the store does on either kind is tried beneath this layer
pytestmark = pytest.mark.only("sqlite")


@pytest.fixture
def remote(service):
    headers = {"Authorization": f"Bearer {service.token('observer')}"}
    api.set_provider_and_wait(
        OFREPProvider(service.url, headers_factory=lambda: headers, timeout=20), "remote"
    )
    yield api.get_client("remote")
    api.clear_providers()


def test_over_http_and_in_process_the_assignment_is_the_same_and_a_revert_is_seen(remote, service, lab):
    release = lab.live(share_bp=5_000)
    service.settled()
    api.set_provider_and_wait(Provider(enters=False), "here")
    here, units = api.get_client("here"), [EvaluationContext(f"u-{number}") for number in range(60)]
    told = [remote.get_string_details("support:id", "", unit) for unit in units]
    assert {(one.reason, one.error_code) for one in told} == {(Reason.SPLIT, None)}
    assert [one.value for one in told] == [here.get_string_value("support", "", unit) for unit in units]
    assert {one.value for one in told} == {lab.baseline, lab.candidate}
    lab.revert(release)
    assert {remote.get_string_value("support:id", "", unit) for unit in units[:9]} == {lab.baseline}


@pytest.mark.parametrize(
    ("kind", "flag", "unit", "code"),
    [
        ("object", "coder", "u", "FLAG_NOT_FOUND"),
        ("string", "support:id", None, "TARGETING_KEY_MISSING"),
        ("boolean", "support:id", "u", "TYPE_MISMATCH"),
        ("object", "support", "u", None),
    ],
)
def test_no_default_is_served_in_silence(remote, lab, kind, flag, unit, code):
    default = {"string": "default", "object": {"id": "default"}, "boolean": True}[kind]
    found = getattr(remote, f"get_{kind}_details")(flag, default, EvaluationContext(unit))
    assert found.error_code == code
    assert (found.value == default) is (found.reason == Reason.ERROR) is (code is not None)


def test_a_service_that_does_not_answer_leaves_the_callers_default_and_says_so(lab):
    api.set_provider_and_wait(OFREPProvider("http://127.0.0.1:9", timeout=2), "gone")
    found = api.get_client("gone").get_string_details("support:id", "pinned", EvaluationContext("u"))
    assert (found.value, found.reason) == ("pinned", Reason.ERROR)
    assert found.error_message
    api.clear_providers()
