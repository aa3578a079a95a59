"""Whoever asks an address that people configure goes through `lastgood.guard`."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: who makes clients: the guard; the agent's own, which a rehearsal answers; those of Prefect's API and of the
#: service, which the environment of the process names
MAKERS = {"lastgood/guard.py", "lastgood/outbound.py", "lastgood/remote.py", "tasks/server.py"}
CALLS = {"Client", "AsyncClient", "get", "post", "put", "request", "stream", "HTTPTransport"}


def unguarded(source):
    """Lines that make a client of their own, or open a URL."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        module, _, call = name.rpartition(".")
        if (module == "httpx" and call in CALLS) or call in {"urlopen", "HTTPConnection", "HTTPSConnection"}:
            yield f"{node.lineno}: {name}"


def test_nobody_else_makes_a_client():
    found = {}
    for folder in ("lastgood", "config", "evaluators", "tasks", "flows"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name not in MAKERS and (lines := list(unguarded(path.read_text()))):
                found[name] = lines
    assert found == {}


def test_the_check_can_fail():
    source = "import httpx\nwith httpx.Client() as client:\n    client.get(url)\nhttpx.post(url)\n"
    assert list(unguarded(source)) == ["4: httpx.post", "2: httpx.Client"]
