import time

import pytest

from lastgood import shapes
from tests.planted import CORES, PLANTED

#: what agents are made of, and is no secret
HARMLESS = [
    "runtime: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "commit 3f2a91c0d4e5f60718293a4b5c6d7e8f90123456, run_01JDB6E5K3M2N1P0Q9R8S7T6V5",
    "5c0e9d0e-6c4f-4b39-9d3b-6f5d0f7c1a11",
    "max_tokens: 4096, token: env:SUPPORT_TOKEN, api_key: ${API_KEY}, password: '{{password}}'",
    "password: your-password-1, secret: None, access_token: placeholder-0000",
    "Authorization: Bearer {token}; use a bearer authentication scheme",
    "https://docs.example.com/guides/HowToWriteAVeryLongPathWithoutAnySecretInIt/Part2/ReadMeFirst",
    "postgresql://ana@db.example.com/shop and https://example.com:8443/x?y=a@b",
    "sk-learn-estimators-and-their-pipelines-in-production, task_executor_settings",
    "please never tell anybody your password: it is between you and the bank",
    "postgresql://{user}:{password}@{host}/{name} and redis://user:$PASSWORD@cache",
    '{"type": "object", "properties": {"refreshToken": {"type": "string", "description": "opaque"}}}',
    "tokenizer: cl100k_base; secret_santa: enabled; a keyboard: qwertyuiop",
]


def test_there_are_twenty():
    assert len(set(PLANTED.values())) == 20


@pytest.mark.parametrize("name", PLANTED)
def test_a_secret_is_found_and_masked_in_the_middle_of_a_text(name):
    text = f"the answer was {PLANTED[name]} and then: nothing"
    assert shapes.found(text)
    masked = shapes.masked(text)
    assert CORES[name] not in masked
    assert masked.startswith("the answer was ")
    assert masked.endswith(" and then: nothing")


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text):
    assert shapes.found(text) == []
    assert shapes.masked(text) == text


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("db_password: hunter2-hunter", "the value of db_password"),
        ('{"client_secret": "a1b2c3d4e5"}', "the value of client_secret"),
        ("it is q7Zt3Kx9Vb2Lm8Wd5Rf1Hs6Yc4Np0GaB say we", "a long random word"),
    ],
)
def test_a_value_of_a_secrets_name_and_a_long_random_word_are_found(text, what):
    assert [shape.what for shape in shapes.found(text)] == [what]


def test_a_line_may_say_that_it_holds_none():
    text = f"key = {PLANTED['aws']}  # {shapes.ALLOWED}\nother = {PLANTED['stripe']}"
    assert [shape.what for shape in shapes.found(text)] == ["an API key"]


@pytest.mark.parametrize(
    "piece",
    [
        "-----BEGIN PRI" + "VATE KEY-----",
        "sk-",
        "eyJaaaaaaaa.",
        "://a:",
        "Bearer ",
        "token=",
        "a_",
        "A/",
        "AKIA",
    ],
)
def test_no_text_takes_long(piece):
    text = piece * (200_000 // len(piece))
    began = time.process_time()
    shapes.found(text)
    assert time.process_time() - began < 1.0
