"""`make interop`: case files under the real pydantic-evals and promptfoo, each in its own environment.

Makes cases of a toy agent, exports them, and has each tool load and run the files unchanged on the good
bundle and on every bad one: a case has to pass on the good one and fail on its own bad one there too. Not
part of the suite: it installs some hundred packages. Needs Python, Node.js and npm.
"""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lastgood import case_store, cases, control, promptfoo
from lastgood.case_store import Review, Stored
from lastgood.store.connection import Store
from lastgood.store.engine import upgrade
from tasks import case_making

ROOT = Path(__file__).resolve().parents[2]
#: what INTEROP was checked with
PYDANTIC_EVALS, PROMPTFOO = "pydantic-evals==2.62", "promptfoo@0.121.20"
#: runs a file in pydantic-evals: prints {bundle: {case: passed}}
_SCRIPT = """
import json, sys, warnings
warnings.simplefilter("ignore")
from pydantic_evals import Dataset
from lastgood import evals
found = {}
for bundle in sys.argv[1:]:
    dataset = Dataset.from_file("cases/all.yaml", custom_evaluator_types=evals.EVALUATORS)
    report = dataset.evaluate_sync(evals.task("cases/all.yaml", bundle), progress=False)
    found[bundle] = {case.name: all(a.value for a in case.assertions.values()) for case in report.cases}
    found[bundle] |= {failure.name: False for failure in report.failures}
print(json.dumps(found))
"""


def toys() -> ModuleType:
    """The toy agent of the suite."""
    spec = importlib.util.spec_from_file_location("toys", ROOT / "tests/tasks/cases/conftest.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["toys"] = module
    spec.loader.exec_module(module)
    return module


def make(folder: Path) -> tuple[str, list[Stored]]:
    """Make a team's folder: the agent, its store, and case files; return the good bundle and the cases."""
    toy = toys()
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "cases").mkdir(parents=True)
    os.chdir(folder)
    (folder / "toy_support.py").write_text(toy.AGENT)
    (folder / "up").touch()
    os.environ["LASTGOOD_DATABASE"] = url = f"sqlite:///{folder / 'lastgood.db'}"
    upgrade(url)
    sys.path.insert(0, str(folder))
    shop = toy.Shop(Store(url), folder, "toy_support", "", pytest.MonkeyPatch())
    shop.good = shop.register()
    control.adopt(shop.store, "support", "production", shop.good, actor="ann", reason="it serves today")
    made = []
    for unit, bad in enumerate(({"wrapper": "broken"}, {"prompt": "wrong"}, {"prompt": "eager"})):
        bundle = shop.register(**bad)
        made += case_making.make(shop.store, shop.wanted(bundle, shop.fail(bundle, unit=f"u-{unit}")))
    for each in made:
        case_store.review(shop.store, each, Review.ACCEPTED, by="bob")
    shop.close_crm()  # nothing outside answers from here on
    found = [each.case for each in made]
    (folder / "cases/all.yaml").write_text(cases.write(found, "support"))
    (folder / "promptfooconfig.yaml").write_text(promptfoo.configuration(found, "support", "cases/all.yaml"))
    return shop.good, made


def under_pydantic_evals(work: Path, team: Path, bundles: list[str]) -> dict[str, dict[str, bool]]:
    """Verdicts of pydantic-evals, by bundle and case."""
    python = work / "pydantic-evals/bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", work / "pydantic-evals"], check=True)
        packages = [PYDANTIC_EVALS, "httpx", "-e", str(ROOT)]
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    done = subprocess.run(
        [python, "-c", _SCRIPT, *bundles], cwd=team, check=True, capture_output=True, text=True
    )
    found: dict[str, dict[str, bool]] = json.loads(done.stdout)
    return found


def under_promptfoo(work: Path, team: Path, bundles: list[str]) -> dict[str, dict[str, bool]]:
    """Verdicts of promptfoo, by bundle and case."""
    home = work / "promptfoo"
    program = home / "node_modules/.bin/promptfoo"
    if not program.exists():
        home.mkdir(exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--silent", PROMPTFOO]
        subprocess.run(command, cwd=home, check=True)
    found = {}
    for bundle in bundles:
        answer = work / "promptfoo.json"
        answer.unlink(missing_ok=True)
        environment = {
            **os.environ, "LASTGOOD_CASES_BUNDLE": bundle, "PROMPTFOO_CONFIG_DIR": str(work / "config"),
            "PROMPTFOO_DISABLE_TELEMETRY": "1", "PROMPTFOO_DISABLE_UPDATE": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }  # fmt: skip
        command = [program, "eval", "-c", "promptfooconfig.yaml", "--no-cache", "-o", answer]
        subprocess.run(command, cwd=team, env=environment, capture_output=True, check=False)
        told = json.loads(answer.read_text())["results"]["results"]
        found[bundle] = {one["testCase"]["description"]: bool(one["success"]) for one in told}
        assert all(one["testCase"]["metadata"]["lastgood"]["agent"] == "support" for one in told)
    return found


def main() -> None:
    """Make the files, run them in both, and say what each found; ends with 1 where one differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / ".interop", help="where the environments stand")
    work = parser.parse_args().work.resolve()
    work.mkdir(exist_ok=True)
    good, made = make(work / "team")
    bundles = [good, *(each.draft.bad for each in made)]
    wanted = {good: {each.case.name: True for each in made}}
    wrong = 0
    for name, run in (("pydantic-evals", under_pydantic_evals), ("promptfoo", under_promptfoo)):
        found = run(work, work / "team", bundles)
        own = all(found[each.draft.bad][each.case.name] is False for each in made)
        right = found[good] == wanted[good] and own
        wrong += not right
        print(f"{name}: {len(made)} cases on {len(bundles)} bundles: {'as proven' if right else found}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
