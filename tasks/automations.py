"""Automations: what Prefect starts by itself when something happens to a run, installed by code.

All they pass is text, and all they start may be started twice. None of them is needed for a revert: they only
make what comes after it, and after a crash, sooner than the next scheduled evaluation would.
"""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

from lastgood.release import ReleaseState
from tasks import forms
from tasks.forms import TAG

#: what is emitted where a revert is noticed (see `tasks.following`)
REVERTED = "lastgood.release.reverted"
#: silence after which a run is held for dead: three heartbeats of 30 s
LOST_AFTER = timedelta(seconds=90)
#: looks in a row that were let in nowhere, after which the one that holds their place is looked at; how long
#: such a row may take, and the interval of the schedule that this is for
KEPT_OUT, ROW, LOOK_EVERY = 4, timedelta(minutes=5), timedelta(minutes=1)

HEARTBEAT_LOST = "lastgood: heartbeat lost"
RUN_CRASHED = "lastgood: run crashed"
LOOKS_KEPT_OUT = "lastgood: looks kept out"
TRIGGER_FIRED = "lastgood: trigger fired"
ACTION_FAILED = "lastgood: action failed"
_OURS: dict[str, str | list[str]] = {
    "prefect.resource.role": "tag",
    "prefect.resource.id": f"prefect.tag.{TAG}",
}
#: names of states in which a run of ours ends or rests
_LAST = {
    *("Completed", "Failed", "Crashed", "Cancelled", "Cancelling", "Suspended", "Paused"),
    *("Refused", "HandedOver"),
    *(state.capitalize() for state in ReleaseState if not state.live or state is ReleaseState.ASKING),
}
_RUNS: dict[str, str | list[str]] = {"prefect.resource.id": "prefect.flow-run.*"}


def heartbeat_lost(lost_after: timedelta = LOST_AFTER) -> AutomationCore:
    """A run of ours whose process vanished without a word is marked as crashed.

    Only heartbeats and last states count as signs of life: a state that a run names while it is under way
    would hide that it died right after. Prefect refuses to mark a run that ended.
    """
    trigger = EventTrigger(
        after={"prefect.flow-run.heartbeat"},
        expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{name}" for name in _LAST)},
        match=_RUNS,
        match_related=_OURS,
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=lost_after,
    )
    message = f"no sign of life for {lost_after.total_seconds():.0f} s: its process is gone"
    crashed = ChangeFlowRunState(name=None, state=StateType.CRASHED, message=message, force=False)
    return _automation(HEARTBEAT_LOST, "A run without a sign of life is marked as crashed.", trigger, crashed)


def run_crashed(evaluate: UUID) -> AutomationCore:
    """The scheduled evaluation looks at once, and takes the crashed run's release over in time.

    A crashed evaluation starts none: the schedule does that.
    """
    flow: dict[str, str | list[str]] = {
        "prefect.resource.role": "flow",
        "prefect.resource.name": "!evaluate_canaries",
    }
    trigger = EventTrigger(
        expect={"prefect.flow-run.Crashed"},
        match=_RUNS,
        match_related=[_OURS, flow],
        posture=Posture.Reactive,
        threshold=1,
        within=timedelta(0),
    )
    action = _starts(evaluate, {})
    return _automation(RUN_CRASHED, "After a crash the evaluation looks at once.", trigger, action)


def looks_kept_out(sweep: UUID, look_every: timedelta = LOOK_EVERY) -> AutomationCore:
    """The sweep looks whether the evaluation that keeps all later ones out still lives (`tasks.lost_runs`).

    Workers know nothing of a run that went together with the server, and its place stays taken; an evaluation
    that is only slow gives signs of life and is left alone.
    """
    flow: dict[str, str | list[str]] = {
        "prefect.resource.role": "flow",
        "prefect.resource.name": "evaluate_canaries",
    }
    trigger = EventTrigger(
        expect={"prefect.flow-run.Cancelled"},
        match=_RUNS,
        match_related=[_OURS, flow],
        posture=Posture.Reactive,
        threshold=KEPT_OUT,
        within=max(ROW, (KEPT_OUT + 1) * look_every),
    )
    action = _starts(sweep, {})
    description = "Looks that are let in nowhere have the one that holds their place looked at."
    return _automation(LOOKS_KEPT_OUT, description, trigger, action)


def trigger_fired(follow_up: UUID) -> AutomationCore:
    """What comes after a revert is started: recovery, watch, incident."""
    trigger = EventTrigger(
        expect={REVERTED},
        match={"prefect.resource.id": "lastgood.release.*"},
        posture=Posture.Reactive,
        threshold=1,
        within=timedelta(0),
    )
    names = ("agent", "environment")
    parameters = {name: _text(f"event.payload.{name}") for name in names}
    action = _starts(follow_up, parameters)
    return _automation(TRIGGER_FIRED, "After a revert what comes after it is started.", trigger, action)


def action_failed(inform: UUID) -> AutomationCore:
    """An automation of ours that could not do its work tells people so; its own failure starts nothing."""
    trigger = EventTrigger(
        expect={"prefect.automation.action.failed"},
        match={"prefect.resource.name": [RUN_CRASHED, LOOKS_KEPT_OUT, TRIGGER_FIRED]},
        posture=Posture.Reactive,
        threshold=1,
        within=timedelta(0),
    )
    parameters = {
        "about": _text("event.resource['prefect.resource.name']"),
        "text": _text("event.payload.reason"),
    }
    action = _starts(inform, parameters)
    return _automation(ACTION_FAILED, "A failed action of these is told to people.", trigger, action)


def _starts(deployment: UUID, parameters: dict[str, Any]) -> RunDeployment:
    return RunDeployment(
        source="selected", deployment_id=deployment, parameters=parameters, job_variables=None
    )


def _text(expression: str) -> dict[str, Any]:
    """A parameter that the server fills in; it arrives as text, whatever it was."""
    return {"__prefect_kind": "jinja", "template": f"{{{{ {expression} }}}}"}


def _automation(name: str, description: str, trigger: EventTrigger, action: Any) -> AutomationCore:
    return AutomationCore(name=name, description=description, trigger=trigger, actions=[action])


def wanted(
    deployments: Mapping[str, UUID], lost_after: timedelta = LOST_AFTER, look_every: timedelta = LOOK_EVERY
) -> tuple[AutomationCore, ...]:
    """Every automation that these deployments, by name, allow."""
    made = [heartbeat_lost(lost_after)]
    for name, build in (
        ("evaluate-canaries", run_crashed),
        ("sweep-runs", partial(looks_kept_out, look_every=look_every)),
        ("follow-up", trigger_fired),
        ("inform", action_failed),
    ):
        if name in deployments:
            made.append(build(deployments[name]))
    return tuple(made)


def install(
    client: SyncPrefectClient, lost_after: timedelta = LOST_AFTER, look_every: timedelta = LOOK_EVERY
) -> list[str]:
    """Create, correct and unify our automations; return their names. Doing it again changes nothing."""
    deployments = {found.name: found.id for found in forms.ours(client)}
    names = []
    for automation in wanted(deployments, lost_after, look_every):
        _put(client, automation)
        names.append(automation.name.removeprefix("lastgood: "))
    return names


def _put(client: SyncPrefectClient, automation: AutomationCore) -> None:
    """One automation of each name; somebody who switched it off has it stay off."""
    found = sorted(client.read_automations_by_name(automation.name), key=lambda each: str(each.id))
    if not found:
        client.create_automation(automation)
        return
    kept, *twice = found
    for each in twice:
        client.delete_automation(each.id)
    automation.enabled = kept.enabled
    if _plain(kept) != _plain(automation):
        client.update_automation(kept.id, automation)


def _plain(automation: AutomationCore) -> dict[str, Any]:
    told = automation.model_dump(mode="json", exclude={"id"})
    trigger = told["trigger"]
    trigger.pop("id", None)
    for key in ("after", "expect", "for_each"):
        trigger[key] = sorted(trigger[key])
    return told


__all__ = ["LOST_AFTER", "REVERTED", "install", "wanted"]
