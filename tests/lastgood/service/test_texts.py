"""Texts that a store can't hold: half a surrogate pair on both, a NUL on Postgres."""

import json

import pytest

from tests.fuzz.bodies import BODIES, filled

ODD = ("\ud800", "\x00")


def spoilt(value: object, odd: str):
    """Every copy of a body with one text of it, or one key, spoilt."""
    if isinstance(value, str):
        yield odd + value
    if isinstance(value, dict):
        for name, held in value.items():
            for other in spoilt(held, odd):
                yield {**value, name: other}
        yield {**value, f"x{odd}": 1}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("path", BODIES)
def test_no_text_makes_the_service_fail(service, desk, path, odd):
    desk.live(5_000)
    entered = service.enter()
    good = filled(
        {"error": "e", **BODIES[path]} if path.endswith("outcomes") else BODIES[path],
        entered["run"],
        entered["token"],
    )
    # whoever may do what the route does: the agent, and at the moves of people the approver
    for body in spoilt(good, odd):
        content = json.dumps(body).encode()
        answer = service.ask("agent", "POST", path, content=content)
        if answer.status_code == 403 and "BadToken" not in answer.text:
            answer = service.ask("approver", "POST", path, content=content)
        assert answer.status_code < 500, (body, answer.text)
