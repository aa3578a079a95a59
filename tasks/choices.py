"""Choices: what the release form offers, read from the store, and written into a deployment's schema.

Plain values: `tasks.forms` brings them to Prefect, which refuses anything else before a run starts.
"""

import copy
from dataclasses import dataclass
from typing import Any

from config.policy import built_in
from lastgood import registry
from lastgood.store import statements as sql
from lastgood.store.connection import Store

#: newest bundles that a form offers
MOST_BUNDLES = 100
#: what a field is called, and its bounds, in JSON schema; its help is in the flow's docstring
FIELDS: dict[str, dict[str, Any]] = {
    "agent": {"title": "Agent", "minLength": 1, "maxLength": 64},
    "candidate": {"title": "Candidate", "minLength": 1, "maxLength": 200},
    "bundle": {"title": "Bundle", "minLength": 1, "maxLength": 200},
    "to": {"title": "To", "maxLength": 200},
    "policy": {"title": "Policy", "minLength": 1, "maxLength": 64},
    "environment": {"title": "Environment", "minLength": 1, "maxLength": 64},
    "approver": {"title": "Approver", "maxLength": 100},
    "actor": {"title": "You are", "maxLength": 100},
    "note": {"title": "Note", "maxLength": 500},
    "reason": {"title": "Reason", "maxLength": 500},
    "guardrail": {"title": "Guardrail", "minLength": 1, "maxLength": 64},
    "slice": {"title": "Slice", "minLength": 1, "maxLength": 64},
    "incident": {"title": "Incident", "minLength": 1, "maxLength": 64},
    "subject": {"title": "Subject", "maxLength": 100},
    "live": {"title": "Live hosts", "maxLength": 1_000},
    "sandbox": {"title": "Sandbox hosts", "maxLength": 1_000},
    "usd": {"title": "US dollars", "pattern": r"^[0-9]+(\.[0-9]+)?$", "maxLength": 12},
    "folder": {"title": "Folder", "maxLength": 500},
    "spread": {"title": "Spread", "pattern": "^[1-9][0-9]*$", "maxLength": 4},
    "part": {"title": "Part", "maxLength": 10_000},
    "about": {"title": "About", "minLength": 1, "maxLength": 500},
    "text": {"title": "Text", "maxLength": 10_000},
}


@dataclass(frozen=True, slots=True)
class Choices:
    """What exists now, each in the order in which a form shows it."""

    agents: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    #: `b-3f2a90bc support-2026-11-29.1`, the newest first
    bundles: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()

    def of(self, field: str) -> tuple[str, ...]:
        """What a field may hold; empty where everything may, or where there is nothing to choose from yet."""
        if field in {"candidate", "bundle"}:
            return self.bundles
        if field == "to":
            return self.of("bundle")
        lists = {"agent": self.agents, "environment": self.environments, "policy": self.policies}
        return lists.get(field, ())


def read(store: Store) -> Choices:
    """Read what exists."""
    with store.reading() as txn:
        places = txn.all(sql.POINTS)
        bundles = txn.all(sql.NEWEST_BUNDLES, most=MOST_BUNDLES)
        stored = {row["name"] for row in txn.all(sql.POLICIES)}
    return Choices(
        agents=tuple(sorted({row["agent"] for row in places})),
        environments=tuple(sorted({row["environment"] for row in places}, key=_production_first)),
        bundles=tuple(f"b-{row['id'][:8]} {row['name']}" for row in bundles),
        policies=(*built_in(), *sorted(stored)),
    )


def _production_first(environment: str) -> tuple[bool, str]:
    return environment != "production", environment


def reference(chosen: str) -> str:
    """The bundle's reference in what a form sent: `b-3f2a90bc` of `b-3f2a90bc support-2026-11-29.1`."""
    return chosen.split(maxsplit=1)[0] if chosen.strip() else ""


def label(store: Store, bundle: str) -> str:
    """Return what forms call a bundle, and take of it; raises `NotFound`."""
    record = registry.load(store, bundle)
    return f"{record.bundle.short} {record.name}"


def amended(schema: dict[str, Any], choices: Choices) -> dict[str, Any]:
    """A deployment's parameter schema with titles, bounds and the choices of now."""
    found = copy.deepcopy(schema)
    for name, field in found.get("properties", {}).items():
        field.update(FIELDS.get(name, {}))
        field.pop("enum", None)
        offered = choices.of(name)
        default = field.get("default")
        if not default and "default" in field:
            field.pop("minLength", None)  # what may be left empty
        if offered and default is not None and default not in offered:
            offered = (default, *offered)
        if offered:
            field["enum"] = list(dict.fromkeys(offered))
    return found


__all__ = ["FIELDS", "Choices", "amended", "label", "read", "reference"]
