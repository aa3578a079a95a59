"""A provider for OpenFeature's Python SDK, over the in-process router and this process's store.

    api.set_provider(Provider())
    client = api.get_client()
    bundle = client.get_object_value("support", LAST_GOOD, EvaluationContext("run-1", {"task_type": "faq"}))
    client.track("run.completed", EvaluationContext("run-1"), TrackingEventDetails(1))

The flag is the agent and the value its bundle, as `lastgood.evaluation` has it; asked for as text it is the
bundle's id. An evaluation enters a run: asked again by the same name while it is open, it is the same run.
`Provider(enters=False)` and `record: False` in the context only look. Needs `lastgood[openfeature]`.

`track` reports what a run did, by the name that its evaluation entered it under: `run.completed` ends the run
with whatever outcomes stand in its attributes; each of `TRACKED` adds one; `event.NAME` is a named event.
"""

import json
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import (
    FlagNotFoundError,
    GeneralError,
    InvalidContextError,
    TargetingKeyMissingError,
    TypeMismatchError,
)
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.provider import AbstractProvider, Metadata
from openfeature.track import TrackingEventDetails

from lastgood import agent as agents
from lastgood import assigning, evaluation, recorder, registry
from lastgood.bundle import check_name
from lastgood.decision import Decision, risk_of
from lastgood.decision import Reason as Decided
from lastgood.errors import InvalidInput, LastgoodError, NotFound, StoreError
from lastgood.evaluation import ID, Context, Unfit
from lastgood.outcome import COUNTS, FLAGS, Outcome
from lastgood.snapshot import Serving
from lastgood.store import statements as sql

log = logging.getLogger("lastgood")

#: what `track` takes beside `run.completed` and `event.NAME`: the outcome that its value is
TRACKED = {
    "run.validated": "validated",
    "run.escalated": "escalated",
    "run.incidents": "incidents",
    "run.cost_usd": "cost_usd",
    "run.latency_s": "latency_s",
    "operator.edits": "operator_edits",
}
#: runs whose agent is remembered, so that `track` need not be told it
_REMEMBERED = 10_000
_ERRORS = {"TARGETING_KEY_MISSING": TargetingKeyMissingError, "INVALID_CONTEXT": InvalidContextError}


class Provider(AbstractProvider):
    """Evaluates agents as flags; nothing but the store's own rows is kept."""

    def __init__(self, environment: str | None = None, *, enters: bool = True) -> None:
        super().__init__()
        self._environment = environment
        self._enters = enters
        #: agent by what runs were entered under
        self._agents: OrderedDict[str, str] = OrderedDict()
        self._names: dict[str, str] = {}

    def get_metadata(self) -> Metadata:
        """Return the provider's name."""
        return Metadata(name="lastgood")

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        """Fail now where the store can't be used, so that the SDK says NOT_READY and serves the default."""
        del evaluation_context
        if agents.is_remote():
            msg = "this provider reads the store, and LASTGOOD_URL is set: take your SDK's OFREP provider"
            raise GeneralError(msg)
        agents.store().check_schema()

    # -- evaluation: the SDK calls these by keyword

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[Any] | Mapping[str, Any],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[Any] | Mapping[str, Any]]:
        """Return the bundle as a map: id, name, parts."""
        del default_value
        serving, decision, details = self._resolve(flag_key, evaluation_context)
        name = self._name_of(serving, decision)
        return FlagResolutionDetails(json.loads(evaluation.content(decision.bundle, name)), **details)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """Return the bundle's full id."""
        del default_value
        _, decision, details = self._resolve(flag_key, evaluation_context)
        return FlagResolutionDetails(decision.bundle.id, **details)

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,  # noqa: FBT001  the SDK's signature
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        """Raise: a bundle is no truth value."""
        del default_value, evaluation_context
        raise _mismatch(flag_key, "boolean")

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """Raise: a bundle is no number."""
        del default_value, evaluation_context
        raise _mismatch(flag_key, "integer")

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """Raise: a bundle is no number."""
        del default_value, evaluation_context
        raise _mismatch(flag_key, "float")

    def _resolve(
        self, flag_key: str, context: EvaluationContext | None
    ) -> tuple[Serving, Decision, dict[str, Any]]:
        agent = flag_key.removesuffix(ID)
        try:
            asked = _context(context)
            serving = self._serving(agent, context)
            risk_of(serving.router.snapshot.point, asked.risk)
            return serving, *self._decided(serving, asked)
        except Unfit as error:
            raise _ERRORS.get(error.code, GeneralError)(str(error)) from error
        except NotFound as error:
            raise FlagNotFoundError(str(error)) from error
        except InvalidInput as error:
            raise InvalidContextError(str(error)) from error
        except LastgoodError as error:
            raise GeneralError(str(error)) from error

    def _serving(self, agent: str, context: EvaluationContext | None) -> Serving:
        try:
            check_name(agent, "the agent")
        except InvalidInput as error:
            raise NotFound(str(error)) from error
        named = context.attributes.get("environment") if context else None
        return agents.serving(agent, str(named) if named else self._environment)

    def _decided(self, serving: Serving, asked: Context) -> tuple[Decision, dict[str, Any]]:
        """Enter the run, or look; a store that is away leaves the baseline: STALE, and no evidence."""
        run: dict[str, str] = {}
        if not (self._enters and asked.records):
            decision, reason = serving.router.route(asked.unit, asked.risk), None
        else:
            try:
                assigned = assigning.assign(serving, asked.request)
            except StoreError as error:
                log.warning("the run %s of %s is not recorded: %s", asked.entry, serving.agent, error)
                router = serving.router
                decision = router.refuse(Decided.STORE, risk_of(router.snapshot.point, asked.risk))
                reason = Reason.STALE
            else:
                decision, reason, run = assigned.decision, None, {"run": assigned.run_id}
                self._remember(asked.entry, serving.agent)
        metadata = {**evaluation.metadata_of(serving.environment, decision), **run}
        said = reason or Reason(evaluation.reason_of(decision))
        return decision, {"variant": decision.arm, "reason": said, "flag_metadata": metadata}

    def _remember(self, entry: str, agent: str) -> None:
        self._agents[entry] = agent
        self._agents.move_to_end(entry)
        while len(self._agents) > _REMEMBERED:
            self._agents.popitem(last=False)

    def _name_of(self, serving: Serving, decision: Decision) -> str:
        bundle_id = decision.bundle.id
        if bundle_id not in self._names:
            try:
                self._names[bundle_id] = registry.load(serving.store, bundle_id).name
            except StoreError:
                return decision.bundle.short
        return self._names[bundle_id]

    # -- tracking

    def track(
        self,
        tracking_event_name: str,
        evaluation_context: EvaluationContext | None = None,
        tracking_event_details: TrackingEventDetails | None = None,
    ) -> None:
        """Report what a run did; what can't be taken is logged by name, and never raised into the agent."""
        try:
            self._track(tracking_event_name, evaluation_context, tracking_event_details)
        except LastgoodError as error:
            log.warning("the event %s is dropped: %s", tracking_event_name, error)

    def _track(
        self, name: str, context: EvaluationContext | None, details: TrackingEventDetails | None
    ) -> None:
        asked = _context(context)
        serving = self._serving(self._agent_of(asked, context), context)
        place = {"agent": serving.agent, "environment": serving.environment}
        with serving.store.reading() as txn:
            run = txn.one(sql.ENTRY, **place, entry=asked.entry)
        if run is None:
            raise NotFound(f"no evaluation of {serving.agent} entered a run {asked.entry!r}")
        value = None if details is None else details.value
        attributes = {} if details is None else dict(details.attributes)
        if name.startswith("event."):
            recorder.record_event(serving.store, run["id"], name.removeprefix("event."), attributes)
        elif name == "run.completed":
            outcome = Outcome()
            outcome.take({"completed": value is None or bool(value), **attributes})
            recorder.record(serving.store, run["id"], run["arm"], outcome, None, None)
        elif name in TRACKED:
            field = TRACKED[name]
            recorder.record_late(serving.store, run["id"], {field: _value(field, name, value)})
        else:
            known = ", ".join(["run.completed", *TRACKED, "event.NAME"])
            raise InvalidInput(f"it is none that a run is reported by: {known}")

    def _agent_of(self, asked: Context, context: EvaluationContext | None) -> str:
        named = context.attributes.get("agent") if context else None
        found = str(named) if named else self._agents.get(asked.entry)
        if found is None:
            raise NotFound(
                f"this process entered no run {asked.entry!r}; put the agent into the context as `agent`"
            )
        return found


def _value(field: str, name: str, value: float | None) -> float | int | bool:
    if value is None:
        if field in FLAGS:
            return True
        raise InvalidInput(f"{name} needs a value")
    if field in FLAGS:
        return bool(value)
    return int(value) if field in COUNTS and float(value).is_integer() else value


def _context(context: EvaluationContext | None) -> Context:
    """Read the SDK's context; raises `Unfit`."""
    attributes = dict(context.attributes) if context else {}
    unit = context.targeting_key if context else None
    return evaluation.context_of({**attributes, "targetingKey": unit})


def _mismatch(flag_key: str, wanted: str) -> TypeMismatchError:
    return TypeMismatchError(f"the flag {flag_key} is a bundle: ask for an object or a string, no {wanted}")
