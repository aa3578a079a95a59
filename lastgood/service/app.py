"""The application: every route over one store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from lastgood import identity
from lastgood.service import (
    batches,
    deciding,
    describing,
    intake,
    limits,
    moving,
    ofrep,
    otlp,
    page,
    problems,
    reading,
    runs,
    snapshots,
    starting,
    watching,
)
from lastgood.service.desk import Desk
from lastgood.service.door import Door
from lastgood.service.figures import Measured
from lastgood.store.connection import Store


def create(store: Store, environment: str = "production") -> FastAPI:
    """Return the service over a store; `environment` is where a request goes that names none."""

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        store.check_schema()
        identity.keys(store)  # said now, and not at the first run
        yield
        desk.watcher.end()

    desk = Desk(store, Door(store), environment)
    app = FastAPI(
        title="lastgood",
        version=version("lastgood"),
        description="The control point of agents' releases. Evaluation speaks OFREP 0.3.0.",
        lifespan=life,
    )
    app.state.desk = desk
    app.add_middleware(limits.Bodies)
    app.add_middleware(Measured, figures=desk.figures)
    problems.install(app)
    routed = (
        ofrep,
        batches,
        intake,
        otlp,
        moving,
        deciding,
        reading,
        runs,
        snapshots,
        starting,
        watching,
        page,
    )
    for routes in routed:
        app.include_router(routes.router)
    describing.describe(app)
    return app
