"""The predictor: follows every model's live manifest and answers from it, swapping whole ensembles at once.

One thread listens for new versions, builds the next ensemble beside the present one and swaps a reference. An answer is
computed from one ensemble and names its manifest; if a swap happened meanwhile it is computed again. The predictor may
answer only while it confirmed lately, in the database, which version it serves: so a deletion knows when nobody can
answer from an older one, also when this process hangs or is cut off.

The last look at what is current, and the writing of the answer, are one turn of the event loop; and a new version is
confirmed only after the turn in which it was swapped in. So after the first answer of a version none of an older one
leaves, and none leaves after its certificate.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import BaseModel, ConfigDict, Field

from api import documentation, problems
from api.dependencies import bearer
from api.envelope import Envelope
from core import metrics
from core.datasets.kinds import read_questions
from core.domain.access import Caller, Scope
from core.domain.errors import ManifestStale, ModelNotServed
from core.domain.identifiers import new_identifier
from core.settings import Settings
from core.use_cases.authenticate import authenticate
from core.use_cases.doors import Doors, open_doors
from core.use_cases.follow_manifest import Follower, ServedModel
from core.use_cases.serve_checkpoint import ServedCheckpoint

MOST_INPUTS = 1024
LARGEST_BODY = 64 << 20
"""Bytes of a body; it is refused before it is read further."""
REMEMBERED_SECONDS = 2.0
"""For how long a predictor goes on believing an API key: one that is revoked ends here so much later."""
SETTLE_SECONDS = 5.0


class PredictionBody(BaseModel):
    """What to ask about: images as numbers in the data set's own pixel range, rows of a table as named values, texts, prompts."""

    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={
            "examples": [
                {"model": "digits", "inputs": [[[0, 16], [8, 0]]]},
                {"model": "patients", "inputs": [{"age": 61, "sex": "f", "pressure": None}]},
                {
                    "model": "writer",
                    "inputs": [{"prompt": "Ada lives in", "new_tokens": 3}, {"text": "Ada lives in Paris"}],
                },
            ]
        },
    )

    model: str = Field(examples=["digits"], description="Id or name.")
    inputs: list[Any] = Field(
        min_length=1,
        max_length=MOST_INPUTS,
        description="Images of the schema's shape, or objects with a value for every column (null where one is empty), or texts; for a "
        "language model texts, or objects with a prompt and a text, or with a prompt and new_tokens (1..64).",
    )


class ServedManifest(BaseModel):
    version: str
    number: int
    digest: str


class Prediction(BaseModel):
    label: str
    probability: float


class Estimate(BaseModel):
    value: float = Field(description="In the data set's own units, and within its declared range.")


class Likelihood(BaseModel):
    log_likelihood: float = Field(description="Of the text after its prompt, in nats, summed over its tokens.")
    tokens: int = Field(description="How many tokens that is; a text that is longer than the model reads is cut.")


class Completion(BaseModel):
    completion: str = Field(description="How the prompt goes on, the likeliest token each time.")
    tokens: int


class PredictionAnswer(BaseModel):
    """One prediction per input, all from the manifest that is named."""

    model: str
    manifest: ServedManifest
    degraded: bool = Field(description="Every shard is dead and the public model answered.")
    predictions: list[Prediction | Estimate | Likelihood | Completion] = Field(
        description="A label each, a number for a regression, or what a language model says."
    )


def create_predictor(doors: Doors | None = None) -> FastAPI:
    """Return the predictor's application; without doors, the environment says where everything is."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.doors = doors or open_doors(Settings())
        app.state.known = {}
        settle = _settling(asyncio.get_running_loop())
        app.state.follower = Follower(app.state.doors, new_identifier("prd"), settle)
        app.state.follower.start()
        yield
        await run_in_threadpool(app.state.follower.stop)  # it may be waiting for a turn of this loop

    app = FastAPI(title="Lethe predictor", lifespan=lifespan, redirect_slashes=False)
    problems.install(app)
    documentation.install(app)
    app.add_middleware(Envelope, most_bytes=LARGEST_BODY)
    app.get("/healthz", summary="Does the process live?")(health)
    app.get("/readyz", summary="May it answer?", responses=documentation.UNREADY)(ready)
    app.get("/metrics", summary="Counters of this process, for Prometheus", include_in_schema=False)(read_metrics)
    app.post(
        "/v1/predict",
        response_model=PredictionAnswer,
        responses=documentation.PROBLEMS | documentation.BODY,
        summary="Ask a model about inputs",
    )(predict)
    return app


async def health() -> dict[str, str]:
    return {"status": "ok"}


async def ready(request: Request) -> dict[str, Any]:
    follower: Follower = request.app.state.follower
    if not follower.confirmed_lately():
        raise ManifestStale
    return {"status": "ready", "models": len(list(follower.models()))}


async def read_metrics() -> Response:
    return Response(metrics.exposition(), media_type=metrics.CONTENT_TYPE)


async def known_caller(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Caller:
    """Return whoever calls, as the database said within the last two seconds; refusals are not remembered.

    Raises:
        Unauthenticated: there is no key, or it is unknown, expired or revoked.
    """
    known: dict[bytes, tuple[Caller, float]] = request.app.state.known
    text = credentials.credentials if credentials else ""
    digest = hashlib.sha256(text.encode()).digest()
    caller, asked = known.get(digest, (None, 0.0))
    now = time.monotonic()
    if caller is None or now - asked > REMEMBERED_SECONDS:
        caller = await run_in_threadpool(authenticate, request.app.state.doors, text)
        for old in [one for one, (_, since) in known.items() if now - since > REMEMBERED_SECONDS]:
            del known[old]
        known[digest] = caller, now
    return caller


async def predict(body: PredictionBody, caller: Annotated[Caller, Depends(known_caller)], request: Request) -> Response:
    """Classify inputs, or estimate a number for each; the answer names the manifest that it came from. Scope: `models:predict`."""
    caller.require(Scope.MODELS_PREDICT)
    follower: Follower = request.app.state.follower
    while True:
        served = follower.find(caller.tenant_id, body.model)
        if served is None:
            raise ModelNotServed
        content = await run_in_threadpool(answer, served, body.inputs)
        # From here to the socket nothing waits: what is current now is current when the answer leaves.
        if not follower.may_answer(served):
            raise ManifestStale
        if follower.is_current(served):
            metrics.predicted(len(body.inputs), degraded=served.degraded)
            return Response(content, media_type="application/json")


def _settling(loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    def settle() -> None:
        # One turn of the loop: whatever was checked before it is written now.
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(SETTLE_SECONDS)

    return settle


def answer(served: ServedModel | ServedCheckpoint, inputs: list[Any]) -> bytes:
    """Return the JSON of one ensemble's answer.

    Raises:
        BadInput: the inputs do not keep the data set's schema.
    """
    predictions = served.answers(read_questions(inputs, served.schema))
    return json.dumps(
        {
            "model": served.model_id,
            "manifest": {"version": served.version_id, "number": served.number, "digest": served.manifest_digest},
            "degraded": served.degraded,
            "predictions": predictions,
        }
    ).encode()
