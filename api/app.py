"""All the wiring of the web front door on one screen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI

from api import documentation, problems
from api.acquaintances import Acquaintances
from api.envelope import Envelope
from api.routes import (
    access,
    audit,
    certificates,
    datasets,
    deletions,
    health,
    jobs,
    lineage,
    methods,
    models,
    plans,
    suppressions,
    webhooks,
)
from core.settings import Settings
from core.use_cases.doors import Doors, open_doors

DESCRIPTION = """
Unlearning as a service. Register a data set and a model, post a deletion request, fetch the certificate.
Errors are `application/problem+json`; lists page by an opaque cursor; writes take an `Idempotency-Key`.
Clients must tolerate fields and enumeration values that they do not know: both may be added.
"""
LARGEST_BODY = 16 << 20
"""Bytes of a JSON body; a hundred thousand record ids fit. Uploads have a limit of their own."""


def create_app(doors: Doors | None = None) -> FastAPI:
    """Return the application; without doors, the environment says where everything is."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.doors = doors or open_doors(Settings())
        app.state.acquaintances = Acquaintances()
        # A request takes one connection at a time: with a thread for each, none waits for one in vain.
        current_default_thread_limiter().total_tokens = app.state.doors.settings.database_connections
        yield
        app.state.doors.database.close()

    # A redirect to the address without its last slash would repeat the query, and a query may hold anything.
    app = FastAPI(
        title="Lethe",
        version=version("lethe"),
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        webhooks=webhooks.callbacks,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    for page in (
        deletions,
        suppressions,
        datasets,
        models,
        methods,
        plans,
        lineage,
        jobs,
        certificates,
        audit,
        webhooks,
        access,
    ):
        app.include_router(page.router, responses=documentation.PROBLEMS)
    app.include_router(health.router, responses=documentation.UNREADY)
    problems.install(app)
    documentation.install(app)
    app.add_middleware(Envelope, most_bytes=LARGEST_BODY, self_bounded=datasets.UPLOAD_PATHS)
    return app
