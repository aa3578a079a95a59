"""Recorded runs: three formats, one meaning, and a clear word on what can't be read."""

import gzip
import json

import pandas as pd
import pytest

from lastgood.errors import InvalidRuns
from tasks import recorded

RUNS = [
    {"variant": "v1", "completed": True, "incidents": 0, "cost_usd": 0.25, "stratum": "faq", "unit": 7},
    {"variant": "v1", "completed": False, "incidents": 2, "cost_usd": None, "stratum": None, "unit": None},
    {"variant": "v2", "completed": None, "incidents": None, "cost_usd": 1.5, "stratum": "billing", "unit": 9},
]
CSV = """variant,completed,incidents,cost_usd,stratum,unit
v1,true,0,0.25,faq,7
v1,False,2,,,
v2,,,1.5,billing,9
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="runs.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def expected(write):
    return recorded.read(write(CSV)).runs


def _lines():
    return "\n".join(json.dumps(run) for run in RUNS) + "\n\n"


def test_values_are_read_and_what_is_missing_stays_missing(expected) -> None:
    assert expected["variant"].tolist() == ["v1", "v1", "v2"]
    assert expected["completed"].tolist()[:2] == [1.0, 0.0]
    assert expected["completed"].isna().tolist() == [False, False, True]
    assert expected["stratum"].tolist() == ["faq", None, "billing"]
    assert expected["unit"].tolist() == ["7", None, "9"]


def test_a_run_that_names_no_incident_had_none_as_in_the_store(expected) -> None:
    assert expected["incidents"].tolist() == [0.0, 2.0, 0.0]


def test_an_empty_column_stays_empty(write) -> None:
    runs = recorded.read(write("variant,completed,escalated\nv1,1,\nv1,0,\n")).runs
    assert runs["escalated"].isna().all()


@pytest.mark.parametrize("name", ["runs.jsonl", "runs.ndjson"])
def test_json_lines_read_the_same(write, expected, name) -> None:
    pd.testing.assert_frame_equal(recorded.read(write(_lines(), name)).runs, expected)


def test_packed_files_read_the_same(write, expected) -> None:
    for text, name in ((CSV, "runs.csv.gz"), (_lines(), "runs.jsonl.gz")):
        pd.testing.assert_frame_equal(recorded.read(write(gzip.compress(text.encode()), name)).runs, expected)


@pytest.mark.parametrize("dtype", ["object", "float32"])
def test_parquet_reads_the_same(tmp_path, expected, dtype) -> None:
    frame = pd.DataFrame(RUNS).astype({"incidents": dtype, "cost_usd": dtype})
    frame.to_parquet(tmp_path / "runs.parquet")
    pd.testing.assert_frame_equal(recorded.read(tmp_path / "runs.parquet").runs, expected)


def test_success_and_infra_fail_are_read_as_completed_and_infra_failure(write) -> None:
    found = recorded.read(write("variant,success,infra_fail\nv1,1,0\n"))
    assert found.renamed == (("completed", "success"), ("infra_failure", "infra_fail"))
    assert found.runs["completed"].tolist() == [1.0]


def test_a_known_column_goes_before_its_other_name(write) -> None:
    found = recorded.read(write("variant,success,completed\nv1,1,0\n"))
    assert found.runs["completed"].tolist() == [0.0]
    assert found.renamed == ()


def test_a_named_column_goes_before_all(write) -> None:
    found = recorded.read(write("variant,completed,solved\nv1,1,0\n"), {"completed": "solved"})
    assert found.runs["completed"].tolist() == [0.0]
    assert found.renamed == (("completed", "solved"),)


def test_one_column_may_serve_twice(write) -> None:
    found = recorded.read(write("variant,ok\nv1,1\n"), {"completed": "ok", "validated": "ok"})
    assert found.runs[["completed", "validated"]].to_numpy().tolist() == [[1.0, 1.0]]


def test_a_policys_own_flag_is_read(write) -> None:
    path = write("variant,malformed\nv1,3\nv1,0\n")
    assert recorded.read(path, own=["malformed"]).runs["malformed"].tolist() == [3.0, 0.0]


def test_variants_are_picked_and_pooled_in_order(write) -> None:
    found = recorded.read(write("variant,completed\na,1\nb,0\nc,1\na,0\n"))
    assert found.of(["a"])["completed"].tolist() == [1.0, 0.0]
    assert found.of(["b", "a"])["variant"].tolist() == ["a", "b", "a"]


def test_an_unknown_variant_is_told_those_there_are(write) -> None:
    with pytest.raises(InvalidRuns, match="no run of variant 'v9' is recorded; there are v1, v2"):
        recorded.read(write(CSV)).of(["v9"])


BAD = {
    "an unknown ending": ("runs.xlsx", CSV, r"ends in \.csv, \.csv\.gz, \.jsonl"),
    "an empty file": ("runs.csv", "", "holds no runs"),
    "a header alone": ("runs.csv", "variant,completed\n", "holds no runs"),
    "empty JSON lines": ("runs.jsonl", "\n", "holds no runs"),
    "no variant": (
        "runs.csv",
        "agent,completed\nv1,1\n",
        r"no column variant.* agent, completed;.*--column variant=NAME",
    ),
    "no outcome": (
        "runs.csv",
        "variant,score\nv1,1\n",
        r"no outcome of a run \(any of completed.*variant, score",
    ),
    "a word": (
        "runs.csv",
        "variant,completed\nv1,1\nv1,maybe\n",
        "row 2, column completed: 'maybe' is not true or false",
    ),
    "a fraction": (
        "runs.csv",
        "variant,success\nv1,0.5\n",
        "row 1, column success: '0.5' is not true or false",
    ),
    "half an incident": ("runs.csv", "variant,incidents\nv1,0.5\n", "column incidents: '0.5' is not a count"),
    "a negative cost": (
        "runs.csv",
        "variant,cost_usd\nv1,-1\n",
        "column cost_usd: '-1' is not a number, 0 or more",
    ),
    "infinity": ("runs.csv", "variant,latency_s\nv1,inf\n", "column latency_s: 'inf' is not a number"),
    "too many cells": (
        "runs.csv",
        "variant,completed\nv1,1,9\n",
        "does not hold what its name's ending says",
    ),
    "a column twice": ("runs.csv", "variant,completed,completed\nv1,1,0\n", "the column 'completed' twice"),
    "no UTF-8": ("runs.csv", b"variant,completed\n\xff,1\n", "does not hold what its name's ending says"),
    "no JSON": ("runs.jsonl", '{"variant": "v1", "completed": 1}\n{no}\n', "line 2: no JSON"),
    "no object": ("runs.jsonl", "[1]\n", r"line 1: a run is a JSON object, not \[1\]"),
    "no parquet": ("runs.parquet", CSV, "does not hold what its name's ending says"),
    "nothing packed": ("runs.csv.gz", CSV, "can't be read"),
    "a cut archive": (
        "runs.csv.gz",
        gzip.compress(CSV.encode() * 50)[:-20],
        "does not hold what its name's ending says",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used_is_named(write, case) -> None:
    name, text, message = BAD[case]
    with pytest.raises(InvalidRuns, match=message):
        recorded.read(write(text, name))


def test_a_file_that_is_not_there_and_a_folder_are_named(tmp_path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name, message in (("absent.csv", "No such file"), ("folder.csv", "Is a directory")):
        with pytest.raises(InvalidRuns, match=f"{name} can't be read: {message}"):
            recorded.read(tmp_path / name)


def test_a_named_column_that_is_not_there_is_told_those_there_are(write) -> None:
    with pytest.raises(
        InvalidRuns, match="no column 'solved' to read completed from; its columns are variant, "
    ):
        recorded.read(write(CSV), {"completed": "solved"})


def test_an_unknown_column_to_read_is_told_the_known_ones(write) -> None:
    with pytest.raises(
        InvalidRuns, match="'done' is no column of a recorded run; known are variant, stratum"
    ):
        recorded.read(write(CSV), {"done": "completed"})


def test_a_long_list_of_columns_is_shortened(write) -> None:
    wide = ",".join(f"c{number}" for number in range(40))
    with pytest.raises(InvalidRuns, match="c11 and 28 more"):
        recorded.read(write(f"{wide}\n{wide}\n"))
