import re
import textwrap

import pytest

from lastgood.bundle import Bundle, Part
from lastgood.bundle_file import read_bundle_file
from lastgood.errors import InvalidBundle

GOOD = """\
agent: support
author: Ann Example
approver: bob@example.org
parent: b-0123abcd
name: support-first
parts:
  prompt:
    version: "12"
    file: prompts/prompt.md
  model:
    version: "3"
    inline: {default: gpt-4o, prices: {gpt-4o: {input_usd_per_mtok: 2.5, output_usd_per_mtok: 10}}}
  tools:
    version: "7"
    folder: tools/
    runtime: sha256:ab
  memory:
    version: "2"
    inline: none
  policy:
    version: "5"
    file: policy.yaml
"""


@pytest.fixture
def write(tmp_path):
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "prompt.md").write_bytes(b"Be kind.\r\n")
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "search.json").write_bytes(b'{"name": "search"}')
    (tmp_path / "policy.yaml").write_bytes(b"approve_above_usd: 50\n")

    def write(text=GOOD):
        path = tmp_path / "bundle.yaml"
        path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
        return path

    return write


def refused(path):
    with pytest.raises(InvalidBundle) as caught:
        read_bundle_file(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:")
    return message.removeprefix(f"{path}:")


def test_the_metadata_is_read(write):
    draft = read_bundle_file(write())
    assert (draft.agent, draft.author, draft.approver) == ("support", "Ann Example", "bob@example.org")
    assert (draft.parent, draft.name) == ("b-0123abcd", "support-first")


def test_the_metadata_is_optional(write):
    draft = read_bundle_file(write(GOOD[GOOD.index("parts:") :]))
    assert (draft.agent, draft.author, draft.approver, draft.parent, draft.name) == (None,) * 5


def test_the_parts_are_read(write):
    assert read_bundle_file(write()).bundle == Bundle(
        [
            Part.of_files("prompt", "12", {"prompt.md": b"Be kind.\r\n"}),
            Part.of_value(
                "model",
                "3",
                {
                    "default": "gpt-4o",
                    "prices": {"gpt-4o": {"input_usd_per_mtok": 2.5, "output_usd_per_mtok": 10}},
                },
            ),
            Part.of_files("tools", "7", {"search.json": b'{"name": "search"}'}, "sha256:ab"),
            Part.of_value("memory", "2", "none"),
            Part.of_files("policy", "5", {"policy.yaml": b"approve_above_usd: 50\n"}),
        ]
    )


def test_where_content_lies_does_not_change_the_id(write, tmp_path):
    before = read_bundle_file(write()).bundle.id
    (tmp_path / "prompts").rename(tmp_path / "texts")
    (tmp_path / "tools").rename(tmp_path / "manifest")
    moved = GOOD.replace("prompts/", "./texts/").replace("tools/", "manifest")
    assert read_bundle_file(write(moved)).bundle.id == before


def test_a_path_may_be_text(write):
    assert read_bundle_file(str(write())).bundle == read_bundle_file(write()).bundle


def edit(old, new):
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


MEMORY = '  memory:\n    version: "2"\n    inline: none\n'

BAD = {
    "missing part": (edit(MEMORY, ""), "6: part memory is missing"),
    "extra part": (
        GOOD + "  judge: {version: '1', inline: x}\n",
        "23: parts has the unknown key 'judge'; known are",
    ),
    "misspelt part": (
        edit("  tools:", "  tool:"),
        "13: parts has the unknown key 'tool'; did you mean 'tools'",
    ),
    "two sources": (
        edit("    inline: none", "    inline: x\n    file: y"),
        "20: part memory names both inline and file",
    ),
    "no source": (
        edit("    inline: none\n", ""),
        "17: part memory names no content; write one of file, folder, inline",
    ),
    "no version": (edit('    version: "12"\n', ""), '7: part prompt has no version; write `version: "1"`'),
    "number as version": (
        edit('"3"', "1.10"),
        "11: part model: the version 1.1 is a number.*quote it as it stands there",
    ),
    "empty version": (edit('"3"', '""'), "11: part model: the version '' is none"),
    "date as version": (edit('"3"', "2026-11-23"), "11: part model: the version 2026-11-23 is a date"),
    "misspelt key": (
        edit("    folder:", "    foldr:"),
        "15: part tools has the unknown key 'foldr'; .*'folder'",
    ),
    "unknown key on top": (
        edit("approver:", "aprover:"),
        "3: the file has the unknown key 'aprover'; .*'approver'",
    ),
    "number as key": (GOOD + "1: x\n", "23: the file has the unknown key 1"),
    "duplicate key": (GOOD + "agent: other\n", "23: the key 'agent' stands on line 1 already"),
    "missing file": (edit("policy.yaml", "polcy.yaml"), "22: part policy: polcy.yaml is missing; create it"),
    "missing folder": (edit("tools/", "tols/deep/"), "15: part tools: tols is missing"),
    "way out": (
        edit("policy.yaml", "../policy.yaml"),
        "22: part policy: ../policy.yaml leads out of the folder",
    ),
    "absolute way out": (
        edit("policy.yaml", "/etc/passwd"),
        "22: part policy: /etc/passwd leads out of the folder",
    ),
    "file as folder": (
        edit("tools/", "policy.yaml"),
        "15: part tools: .* is a file; write `file: policy.yaml`",
    ),
    "folder as file": (
        edit("policy.yaml", "tools"),
        "22: part policy: tools is a folder; write `folder: tools`",
    ),
    "the folder itself": (edit("tools/", "./"), "15: part tools: the folder of bundle.yaml itself"),
    "not a number": (
        edit("input_usd_per_mtok: 2.5", "input_usd_per_mtok: .nan"),
        r"12: part model: value\.prices\.gpt-4o\.input_usd_per_mtok is nan",
    ),
    "date inline": (
        edit("default: gpt-4o", "since: 2026-11-23"),
        r"12: part model: value\.since is of type date.*quote it",
    ),
    "number as inline key": (
        edit("{default: gpt-4o,", "{1: x,"),
        "12: part model: value has the key 1 of type int; quote",
    ),
    "empty inline": (edit("inline: none", "inline:"), "19: part memory: `inline:` is empty"),
    "empty file": (edit("file: policy.yaml", "file:"), "22: part policy: `file:` is empty"),
    "number as file": (
        edit("policy.yaml", "12"),
        "22: part policy: `file: 12` is a number, not text; quote it",
    ),
    "empty runtime": (edit("runtime: sha256:ab", "runtime:"), "15: part tools: the runtime is empty"),
    "number as runtime": (
        edit("sha256:ab", "1234567"),
        "15: part tools: the runtime 1234567 is not text; quote it",
    ),
    "bad runtime": (edit("sha256:ab", "two words"), "15: part tools: the runtime 'two words' is none"),
    "part is text": (edit(MEMORY, "  memory: none\n"), "17: part memory is no map; write version:, inline:"),
    "parts is a list": ("parts: [prompt]", "1: parts is no map"),
    "no parts": ("agent: support", "1: `parts:` is missing"),
    "a list": ("- agent", "1: the file is no map"),
    "empty": ("", "1: the file is no map"),
    "bad agent": (edit("agent: support", "agent: Support Bot"), "1: agent 'Support Bot' is no name"),
    "number as agent": (edit("agent: support", "agent: 12"), "1: agent is a number, not text; quote it"),
    "bad parent": (edit("b-0123abcd", "B/1"), "4: parent 'B/1' is no name"),
    "bad author": (edit("Ann Example", '"Ann\\nExample"'), "2: author .* is no name of a person"),
    "half a character": (edit("Ann Example", '"\\ud800"'), "2: .*"),
    "number as author": (edit("Ann Example", "7"), "2: author 7 is no name of a person"),
    "not UTF-8": (b"agent: caf\xe9\n", "1: not UTF-8"),
    "not YAML": ("agent: [\n", "2: .*correct the YAML"),
    "oversized": (
        edit("inline: none", "inline: " + "x" * 1_000_000),
        "6: the bundle holds 1,000,.*memory 1,000,002",
    ),
    "huge": ("# " + "x" * 2_000_000, "1: 2,000,001 bytes"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_names_file_line_and_way_out(write, text, message):
    assert re.match(message, refused(write(text)))


def test_an_unreadable_file_is_refused(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(InvalidBundle, match=r"can't be read: .*; name a bundle\.yaml"):
            read_bundle_file(path)


def test_a_single_data_file_must_parse(write, tmp_path):
    (tmp_path / "policy.yaml").write_bytes(b"a: 1\nb: {{ template }}\n")
    message = refused(write())
    assert message.startswith("22: part policy: policy.yaml:2: ")
    assert message.endswith("(or give it another suffix, if it is no yaml)")


def test_many_parts_that_are_too_large_together_are_refused(write, tmp_path):
    (tmp_path / "prompts" / "prompt.md").write_bytes(b"x" * 600_000)
    (tmp_path / "policy.yaml").write_bytes(b"#" * 600_000)
    assert re.match("6: the bundle holds 1,200,.*policy 600,011, prompt 600,009", refused(write()))
