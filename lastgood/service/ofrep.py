"""The OFREP routes: single and bulk evaluation, and the stream that tells clients to ask again.

Bodies are read by hand: the protocol says by a code of its own what is wrong with them.
"""

import json
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response, StreamingResponse
from fastapi.routing import APIRoute

from lastgood import evaluation
from lastgood.bundle import check_name
from lastgood.errors import Forbidden, LastgoodError, NotFound, StoreUnavailable, Unauthenticated
from lastgood.evaluation import Context, Unfit
from lastgood.release import RISKS
from lastgood.roles import Act, Principal
from lastgood.service import evaluating, problems, streams
from lastgood.service.desk import Caller, Desk, DeskOf, Visit
from lastgood.store import statements as sql

router = APIRouter(prefix="/ofrep/v1", tags=["OFREP"])
#: bytes of a body that is read between two other answers
_SHORT = 16_384
_KNOWN = frozenset({None, *RISKS})
#: seconds without an event after which a client asks again
INACTIVITY_S = 120


async def _json(request: Request) -> Any:
    """The body as JSON; None stands for one that is none."""
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError):
        return None


Sent = Annotated[Any, Depends(_json)]


def _takes(description: str) -> dict[str, Any]:
    """The body of an evaluation in OpenAPI: it is read by hand, so nobody else tells."""
    text = {"type": "string", "minLength": 1, "maxLength": evaluation.MOST}
    own = dict.fromkeys(("risk", "task_type", "conversation", "run", "environment"), text)
    context = {
        "type": "object",
        "required": ["targetingKey"],
        "properties": {"targetingKey": text, **own, "record": {"type": "boolean"}},
        "additionalProperties": True,
    }
    schema = {"type": "object", "required": ["context"], "properties": {"context": context}}
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": True, "description": description, "content": content}}


class _Lean(APIRoute):
    """Answers at once what asks no store; all else, and whatever is wrong, goes the framework's whole way.

    That way resolves what a route depends on and waits for a thread, which is most of what an answer costs.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        whole = super().get_route_handler()

        async def handle(request: Request) -> Response:
            said = _at_once(request.app.state.desk, request, await request.body())
            return await whole(request) if said is None else said

        return handle


def _at_once(desk: Desk, request: Request, body: bytes) -> Response | None:
    """Answer a look by a token that is known, where the router has read the store."""
    principal = desk.door.known(_credential(request))
    if principal is None or len(body) > _SHORT:
        return None
    try:
        sent = json.loads(body)
        context = evaluation.context_of(sent["context"])
        environment, key = _environment(desk, sent), request.path_params["key"]
    except (ValueError, RecursionError, TypeError, KeyError):  # `Unfit` is a ValueError
        return None
    agent = key.removesuffix(evaluation.ID)
    if evaluating.enters(principal, context) or not principal.may(Act.EVALUATE, agent, environment):
        return None
    serving = desk.at_hand(agent, environment)
    if serving is None or context.risk not in _KNOWN:
        return None
    return Response(evaluating.look_at(desk, serving, key, context), media_type="application/json")


def _credential(request: Request) -> str | None:
    """The token that a request shows, as the framework reads it."""
    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    return text.strip() if kind.lower() == "bearer" and text else request.headers.get("X-API-Key")


def evaluate(key: str, desk: DeskOf, principal: Caller, sent: Sent) -> Response:
    """Tell who serves the next run of the agent that the flag names; an agent's token enters the run."""
    try:
        if sent is None:
            raise Unfit("PARSE_ERROR", "the body is no JSON: send {'context': {'targetingKey': ...}}")
        context = evaluation.context_of(sent.get("context") if isinstance(sent, dict) else None)
        visit = _visit(desk, principal, key.removesuffix(evaluation.ID), _environment(desk, sent))
        return Response(evaluating.evaluate(visit, key, context), media_type="application/json")
    except LastgoodError as error:
        return _refused(error, key)


@router.post(
    "/evaluate/flags",
    summary="Who serves, for every agent of the token",
    openapi_extra=_takes("OFREP's bulk evaluation request."),
)
def evaluate_all(
    desk: DeskOf,
    principal: Caller,
    sent: Sent,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Tell for every agent in the token's scope who would serve this context; enters no run."""
    try:
        if sent is None:
            raise Unfit("PARSE_ERROR", "the body is no JSON: send {'context': {'targetingKey': ...}}")
        context = evaluation.context_of(sent.get("context") if isinstance(sent, dict) else None)
        visits = _visits(desk, principal, _environment(desk, sent))
        tag = evaluating.tag(visits, context)
    except LastgoodError as error:
        return _refused(error)
    if if_none_match is not None and tag in if_none_match:
        return Response(status_code=304, headers={"ETag": tag})
    return Response(_bulk(visits, context), media_type="application/json", headers={"ETag": tag})


def _bulk(visits: list[Visit], context: Context) -> bytes:
    flags = b", ".join(evaluating.look(visit, visit.agent, context) for visit in visits)
    stream = {"type": "sse", "url": "/ofrep/v1/stream", "inactivityDelaySec": INACTIVITY_S}
    tail = json.dumps({"metadata": {}, "eventStreams": [stream]})
    return b'{"flags": [' + flags + b"], " + tail[1:].encode()


@router.get("/stream", summary="When to evaluate again", response_class=StreamingResponse)
async def stream(desk: DeskOf, principal: Caller, environment: str | None = None) -> StreamingResponse:
    """Send `refetchEvaluation` whenever a control point in the token's scope was moved."""
    if desk.watcher.streams >= streams.MOST:
        raise StoreUnavailable(f"{streams.MOST} clients listen already: evaluate again at intervals")
    place = environment or desk.environment
    visits = await run_in_threadpool(_visits, desk, principal, place)
    return StreamingResponse(
        streams.refetches(desk, principal, place, [visit.agent for visit in visits]),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def _environment(desk: Desk, sent: Any) -> str:
    context = sent.get("context") if isinstance(sent, dict) else None
    named = context.get("environment") if isinstance(context, dict) else None
    if named is None:
        return desk.environment
    if not isinstance(named, str):
        raise Unfit("INVALID_CONTEXT", f"environment={named!r:.60} is no name")
    return named


router.add_api_route(
    "/evaluate/flags/{key}",
    evaluate,
    methods=["POST"],
    summary="Who serves the next run",
    openapi_extra=_takes("OFREP's evaluation request; `record: false` enters no run."),
    route_class_override=_Lean,
)


def _visit(desk: Desk, principal: Principal, agent: str, environment: str) -> Visit:
    try:
        check_name(agent, "the agent")
        check_name(environment, "the environment")
    except LastgoodError as error:
        raise NotFound(str(error)) from error
    desk.door.admit(principal, Act.EVALUATE, agent, environment)
    return Visit(desk, principal, agent, environment, Act.EVALUATE)


def _visits(desk: Desk, principal: Principal, environment: str) -> list[Visit]:
    with desk.store.reading() as txn:
        rows = txn.all(sql.POINTS)
    return [
        Visit(desk, principal, row["agent"], environment, Act.EVALUATE)
        for row in rows
        if row["environment"] == environment and principal.may(Act.EVALUATE, row["agent"], environment)
    ]


def _refused(error: LastgoodError, key: str | None = None) -> Response:
    """Say an error in the protocol's words."""
    named = {} if key is None else {"key": key}
    if isinstance(error, Unfit):
        body, status = {**named, "errorCode": error.code, "errorDetails": str(error)}, 400
    elif isinstance(error, NotFound):
        body, status = {**named, "errorCode": "FLAG_NOT_FOUND", "errorDetails": str(error)}, 404
    elif isinstance(error, Unauthenticated | Forbidden):
        body, status = {"errorDetails": str(error)}, problems.status_of(error)
    else:
        status = problems.status_of(error)
        code = {"errorCode": "GENERAL"} if status < 500 else {}
        body = {**named, **code, "errorDetails": str(error)}
    return Response(json.dumps(body), status, dict(problems.headers_of(status)), "application/json")
