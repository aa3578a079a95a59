"""The recipes: every block of every page is run by somebody, and what needs no framework is checked here."""

import ast
import importlib.util
import sys
from pathlib import Path

import pytest
import yaml

from config.policy import Policy
from config.profile import Profile
from lastgood.bundle_file import read_bundle_file
from tests.recipes import following
from tests.recipes.following import NobodyRuns, blocks, check_said

ROOT = following.ROOT
PAGES = sorted(path.stem for path in following.RECIPES.glob("*.md") if path.stem != "README")
#: pages that a test module beside this one follows (`make interop` runs it)
HERE = {"kubernetes"}


@pytest.fixture
def interop(monkeypatch):
    """The script; what it imports from beside it has common names and is forgotten again."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("serving", "speaking"):
        monkeypatch.setitem(sys.modules, name, None)
        del sys.modules[name]
    spec = importlib.util.spec_from_file_location("interop_recipes", ROOT / "tests/interop/recipes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_is_followed_by_somebody(interop):
    assert sorted({*interop.FOLLOWED, *HERE}) == PAGES
    assert not set(interop.FOLLOWED) & HERE


def test_make_interop_follows_them():
    assert "tests/interop/recipes.py\n" in (ROOT / "Makefile").read_text("utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_every_block_is_a_file_a_command_or_what_a_command_prints(name):
    assert blocks(following.page(name))


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_short_and_in_the_index(name):
    index = (following.RECIPES / "README.md").read_text("utf-8")
    assert f"]({name}.md)" in index
    assert following.page(name).count("\n") <= 100


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("```python\nimport os\n```\n", "the block of python is run by nobody"),
        ("```\nls\n```\n", "the block of no language is run by nobody"),
        ("```text\nhello\n```\n", "the block of text is run by nobody"),
        ("```yaml\n# a.yaml\nx: 1\n```\n```text\nx\n```\n", "the block of text is run by nobody"),
        ("```python\n# agent.py\n```\n```sh\npython other.py\n```\n", "the file agent.py is used by nobody"),
        ("```sh\npython agent.py\n```\n```python\n# agent.py\n```\n", "the file agent.py is used by nobody"),
    ],
)
def test_a_block_that_nobody_would_run_is_found(page, said):
    with pytest.raises(NobodyRuns, match=said):
        blocks(page)


def test_a_file_may_be_used_by_another_file():
    mine, agent = "```python\n# mine.py\n```\n", "```python\n# agent.py\nfrom mine import x\n```\n"
    page = f"{mine}{agent}```sh\npython agent.py\n```\n"
    assert [block.kind for block in blocks(page)] == ["file", "file", "sh"]


@pytest.mark.parametrize("printed", ["a 1\nb\n", "before\na 22\nbetween\nb\nafter"])
def test_what_is_printed_may_stand_among_other_lines(printed):
    check_said(following.Block("text", "", 1), "a …\nb\n", printed)


@pytest.mark.parametrize("printed", ["", "b\na 1\n", "a 1\nbb\n"])
def test_what_nobody_printed_is_found(printed):
    with pytest.raises(AssertionError, match=r"nobody printed '(b|a …)'"):
        check_said(following.Block("text", "", 1), "a …\nb\n", printed)


@pytest.fixture
def shell(tmp_path):
    found = following.Shell(tmp_path, following.reader({}, tmp_path))
    yield found
    found.close()


def test_a_shell_keeps_what_was_set(shell):
    shell.type("x=1; cd ..\n")
    assert shell.type('echo "$x"; pwd').startswith("1\n")


def test_a_command_that_fails_in_a_block_is_found(shell):
    with pytest.raises(AssertionError, match="ended with an error"):
        shell.type("false\necho there\n")


def test_a_block_that_is_to_fail_and_does_not_is_found(shell):
    assert shell.type("echo no; false", fails=True) == "no\n"
    with pytest.raises(AssertionError, match="ended with 0"):
        shell.type("true", fails=True)


def test_a_page_that_lost_what_is_swapped_is_found(tmp_path):
    page = following.Followed("```sh\nls\n```\n", tmp_path, {}, {"PATH_OF_THIS_CHECKOUT": "x"})
    with pytest.raises(AssertionError, match="PATH_OF_THIS_CHECKOUT"):
        page.go()


# -- what needs no framework


def files(ending):
    found = [(name, block) for name in PAGES for block in blocks(following.page(name))]
    return [(name, block) for name, block in found if block.name.endswith(ending)]


@pytest.mark.parametrize(("page", "block"), files("bundle.yaml"), ids=lambda each: str(each)[:20])
def test_a_bundle_can_be_registered(page, block, tmp_path):
    (tmp_path / "bundle.yaml").write_text(block.text)
    assert read_bundle_file(tmp_path / "bundle.yaml").bundle.id


@pytest.mark.parametrize(("page", "block"), files("policy.yaml"), ids=lambda each: str(each)[:20])
def test_a_policy_can_be_used(page, block):
    assert Policy.load(block.text).name


@pytest.mark.parametrize(("page", "block"), files("profile.yaml"), ids=lambda each: str(each)[:20])
def test_a_profile_can_be_used(page, block):
    assert Profile.load(block.text).agent


@pytest.mark.parametrize(("page", "block"), files(".py"), ids=lambda each: str(each)[:20])
def test_a_program_is_python(page, block):
    ast.parse(block.text)


@pytest.mark.parametrize(
    "path", sorted(Path(ROOT / "examples/kubernetes").glob("*.yaml")), ids=lambda p: p.name
)
def test_a_manifest_is_yaml(path):
    assert all(yaml.safe_load_all(path.read_text("utf-8")))
