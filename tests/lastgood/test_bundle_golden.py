"""The same input gives the same id on every Python and machine: vectors that never change."""

import base64
import hashlib
import json
from pathlib import Path

import pytest

from lastgood.bundle import KINDS, Bundle, Part

GOLDEN = Path(__file__).parents[1] / "data" / "bundles" / "golden.json"
VECTORS = {vector["name"]: vector for vector in json.loads(GOLDEN.read_text())["vectors"]}


def part(kind, spec):
    version, runtime = spec.get("version", "1"), spec.get("runtime")
    if "files" not in spec:
        return Part.of_value(kind, version, spec["inline"], runtime)
    files = {path: base64.b64decode(content) for path, content in spec["files"].items()}
    return Part.of_files(kind, version, files, runtime)


@pytest.fixture(params=VECTORS.values(), ids=VECTORS.keys())
def vector(request):
    return request.param


@pytest.fixture
def parts(vector):
    return {kind: part(kind, spec) for kind, spec in vector["parts"].items()}


def test_the_bodies_are_the_written_ones(vector, parts):
    assert {kind: parts[kind].body.decode() for kind in vector["bodies"]} == vector["bodies"]


def test_the_digests_are_the_written_ones(vector, parts):
    assert {kind: part.digest for kind, part in parts.items()} == vector["digests"]


def test_the_id_is_the_written_one(vector, parts):
    assert Bundle(parts.values()).id == vector["id"]


def test_plain_sha256_agrees_with_the_vector(vector):
    for kind, body in vector["bodies"].items():
        assert hashlib.sha256(body.encode()).hexdigest() == vector["digests"][kind]
    pairs = ",".join(f'["{kind}","{vector["digests"][kind]}"]' for kind in sorted(KINDS))
    assert hashlib.sha256(f"[{pairs}]".encode()).hexdigest() == vector["id"]


def test_nfc_and_nfd_text_have_one_id():
    assert VECTORS["text in NFC"]["id"] == VECTORS["the same text in NFD"]["id"]
