"""Bodies that no client should send are answered in the API's own words, and leave the service whole."""

import random
import time

import httpx
import pytest

from tests.fuzz.bodies import every

#: bodies in the suite; `make fuzz` sends 100,000
NUMBER = 300

pytestmark = pytest.mark.only("sqlite")


@pytest.mark.parametrize("role", ["agent", "approver"])
def test_no_body_crashes_or_holds_the_service(service, desk, role):
    desk.live(5_000)
    headers = {"Authorization": f"Bearer {service.token(role)}"}

    def run():
        entered = service.enter()
        return entered["run"], entered["token"]

    slowest, seen = 0.0, set()
    with httpx.Client(base_url=service.url, headers=headers, timeout=20) as client:
        for path, sent in every(random.Random(f"{role}"), NUMBER, run):
            began = time.monotonic()
            answer = client.post(path, content=sent)
            slowest = max(slowest, time.monotonic() - began)
            seen.add(answer.status_code)
            assert answer.status_code < 500, (path, sent[:500], answer.text)
            if answer.status_code >= 400 and not path.startswith("/r/"):
                assert {"error", "errorDetails", "code"} & set(answer.json()), path
    assert slowest < 10, "far from the second that an idle machine is held to"
    assert seen >= {200, 400, 403}
    assert service.get(None, "/health").status_code == 200
