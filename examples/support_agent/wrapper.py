"""The tool wrapper: the tools of a run's bundle as calls of the CRM.

How a call is worded and how its answer is read is the bundle's (`wrapper` in its tools part), so a bundle
with a wrong wrapper behaves wrongly, and putting the last one back puts its wrapper back too.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import httpx

from examples.support_agent.mapping import filled, mapped
from lastgood import Run
from lastgood.canonical import canonical_json


def key_of(run_id: str, tool: str, arguments: Mapping[str, Any]) -> str:
    """The idempotency key of a call: the same run, tool and arguments are the same call."""
    told = hashlib.sha256(canonical_json(dict(arguments))).hexdigest()[:16]
    return f"{run_id}:{tool}:{told}"


class Tools:
    """The tools of one run, each behind the run's gate."""

    def __init__(self, run: Run, client: httpx.Client) -> None:
        self._run, self._client = run, client
        self._calls: Mapping[str, Any] = run.bundle.tools.data["wrapper"]

    def __call__(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool.

        Raises `MalformedCall` where arguments or result don't fit the manifest, `Refused` and `CapReached`
        where the gate lets nothing through, `httpx.HTTPError` where the CRM fails.
        """

        def call(**given: Any) -> dict[str, Any]:
            return self._send(tool, given)

        result: dict[str, Any] = self._run.tool(call, name=tool)(**arguments)
        return result

    def _send(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        call = self._calls[tool]
        body = mapped(call["body"], arguments) if "body" in call else None
        answer = self._client.request(
            call["method"],
            filled(call["path"], arguments),
            json=body,
            headers={"Idempotency-Key": key_of(self._run.id, tool, arguments)},
        )
        answer.raise_for_status()
        result: dict[str, Any] = mapped(call["result"], answer.json())
        return result
