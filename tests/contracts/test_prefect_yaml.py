"""prefect.yaml deploys for workers what `lastgood up` serves."""

from pathlib import Path

import pytest
import yaml


@pytest.fixture(scope="module")
def deployments(checkout: Path) -> list[dict]:
    return yaml.safe_load((checkout / "prefect.yaml").read_text("utf-8"))["deployments"]


@pytest.mark.prefect
def test_it_has_every_deployment_that_is_served_with_the_same_schedule(deployments: list[dict]) -> None:
    from config.settings import Settings
    from flows.__main__ import SERVED
    from tasks.forms import TAG

    settings = Settings.from_environment({})
    served = {
        each.name: (
            each.flow.name,
            getattr(settings, each.every) // 1_000_000 if each.every else None,
            each.alone,
        )
        for each in SERVED
    }
    found = {
        each["name"]: (
            each["entrypoint"].partition(":")[2],
            each["schedules"][0]["interval"] if "schedules" in each else None,
            each.get("concurrency_limit") == {"limit": 1, "collision_strategy": "CANCEL_NEW"},
        )
        for each in deployments
    }
    assert found == served
    assert all(each["tags"] == [TAG] for each in deployments)


def test_every_entrypoint_is_there(deployments: list[dict], checkout: Path) -> None:
    for each in deployments:
        path, _, name = each["entrypoint"].partition(":")
        assert f"def {name}(" in (checkout / path).read_text("utf-8")
