import json
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood import assignment

VECTORS = json.loads(
    (Path(__file__).parents[1] / "data" / "assignment_vectors.json").read_text(encoding="utf-8")
)["vectors"]
TEXT = st.text(st.characters(codec="utf-8"), max_size=30)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v['salt'][:8]}+{v['unit'][:12]}")
def test_published_vectors(vector):
    assert assignment.bucket(vector["salt"], vector["unit"]) == vector["bucket"]


@given(TEXT, TEXT)
def test_the_bucket_is_the_hash_as_a_fraction_of_ten_thousand(salt, unit):
    digest = blake2b((salt + unit).encode(), digest_size=8).hexdigest()
    assert assignment.bucket(salt, unit) == int(digest, 16) * 10_000 // 2**64


@given(TEXT, TEXT, st.integers(0, 10_000), st.integers(0, 10_000))
def test_raising_the_share_never_moves_a_unit_back(salt, unit, share, higher):
    low, high = sorted([share, higher])
    bucket = assignment.bucket(salt, unit)
    assert bucket < high or not bucket < low


@given(TEXT, TEXT)
def test_no_unit_meets_a_share_of_zero_and_every_unit_one_of_all(salt, unit):
    assert 0 <= assignment.bucket(salt, unit) < 10_000


@pytest.mark.parametrize("share_bp", [1, 100, 1_000, 5_000])
def test_the_share_of_100_000_units_is_kept(share_bp):
    find = assignment.bucketer("rel_share")
    drawn = sum(find(f"unit-{i}") < share_bp for i in range(100_000))
    mean = 100_000 * share_bp / 10_000
    spread = (mean * (1 - share_bp / 10_000)) ** 0.5
    assert abs(drawn - mean) < 4 * spread


def test_every_release_draws_other_units():
    one, two = assignment.bucketer("rel_1"), assignment.bucketer("rel_2")
    units = [f"unit-{i}" for i in range(10_000)]
    both = sum(one(unit) < 1_000 and two(unit) < 1_000 for unit in units)
    assert 60 < both < 140  # independent: 100


def test_another_process_with_another_hash_seed_agrees():
    code = "from lastgood.assignment import bucket; print([bucket('rel_1', f'u-{i}') for i in range(50)])"
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(assignment.__file__).parents[1])},
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(said.stdout) == [assignment.bucket("rel_1", f"u-{i}") for i in range(50)]
