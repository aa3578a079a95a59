"""What a bundle says, as the agent uses it: each of the five parts is read here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from examples.support_agent.retrieval import Index
from lastgood import Bundle, Part


@dataclass(frozen=True, slots=True)
class Settings:
    """One bundle, read."""

    #: sections of the prompt: how answers are worded, by name
    prompt: Mapping[str, str]
    #: `paths`: how work is done; `routes`: which path serves which task
    model: Mapping[str, Any]
    #: `retrieval` and `note`
    memory: Mapping[str, Any]
    #: `validators`, `messages`, `fallback`, `confident_from`, `longest_answer_words`, `approval_above_cents`
    policy: Mapping[str, Any]
    index: Index

    def path(self, task_type: str) -> Mapping[str, Any]:
        """How the routing rules have a task done; the first that fits counts."""
        for route in self.model["routes"]:
            if task_type in route["tasks"] or "*" in route["tasks"]:
                found: Mapping[str, Any] = self.model["paths"][route["path"]]
                return found
        raise LookupError(f"no route of the model part serves {task_type!r}; add one for '*'")


def read(bundle: Bundle) -> Settings:
    """Read a bundle."""
    return Settings(
        _sections(bundle.prompt),
        bundle.model.data,
        bundle.memory.data,
        bundle.policy.data,
        _index(bundle.memory),
    )


@lru_cache(maxsize=32)
def _index(memory: Part) -> Index:
    return Index(memory.data["retrieval"])


@lru_cache(maxsize=32)
def _sections(prompt: Part) -> Mapping[str, str]:
    """The text under each `## heading`."""
    found = re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", prompt.text, re.DOTALL | re.MULTILINE)
    return {name: text.strip() for name, text in found}
