"""The rivals: FastAPI and SQLAlchemy's ORM with nothing around them. One table, one row, one commit per request.

    python -m benchmarks.service.bare sync|async

They parse the very body that Lethe parses. No key is checked, nothing is looked up, nothing is logged, and a repeated
request is stored twice.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import uvicorn
from fastapi import Depends, FastAPI
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from api.schemas.deletions import DeletionRequestBody

POOL = 20
"""Connections, as many as ours: with fewer than 16, each request would open one and close it again."""


class Base(DeclarativeBase):
    pass


class BareRequest(Base):
    __tablename__ = "bare_requests"
    id: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    identity_type: Mapped[str]
    identity_value: Mapped[str] = mapped_column(index=True)
    regulation: Mapped[str | None]
    external_id: Mapped[str | None]
    received_at: Mapped[datetime]


def make_table(url: str) -> None:
    """Make the rivals' table."""
    engine = create_engine(_named(url))
    Base.metadata.create_all(engine)
    engine.dispose()


def _named(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def _row(body: DeletionRequestBody) -> BareRequest:
    [identity] = body.subject.identities
    return BareRequest(
        id=uuid4().hex,
        state="received",
        identity_type=identity.identity_type,
        identity_value=identity.identity_value,
        regulation=body.regulation,
        external_id=body.external_id,
        received_at=datetime.now(UTC),
    )


def _answer(row: BareRequest) -> dict[str, Any]:
    return {"id": row.id, "state": row.state, "received_at": row.received_at}


def synchronous(url: str) -> FastAPI:
    """Return the textbook application with plain functions, as ours are."""
    engine: Engine = create_engine(_named(url), pool_size=POOL, max_overflow=0)
    sessions = sessionmaker(engine, expire_on_commit=False)
    app = FastAPI()

    def opened() -> Iterator[Session]:
        with sessions() as session:
            yield session

    @app.post("/requests", status_code=202)
    def keep(body: DeletionRequestBody, session: Session = Depends(opened)) -> dict[str, Any]:  # noqa: B008, FAST002
        row = _row(body)
        session.add(row)
        session.commit()
        return _answer(row)

    return app


def asynchronous(url: str) -> FastAPI:
    """Return the same with coroutines: no threads, the stronger rival. Needs `greenlet`."""
    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

    engine = create_async_engine(_named(url), pool_size=POOL, max_overflow=0)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    app = FastAPI()

    async def opened() -> AsyncIterator[AsyncSession]:
        async with sessions() as session:
            yield session

    @app.post("/requests", status_code=202)
    async def keep(body: DeletionRequestBody, session: Any = Depends(opened)) -> dict[str, Any]:  # noqa: B008, FAST002
        row = _row(body)
        session.add(row)
        await session.commit()
        return _answer(row)

    return app


def main(kind: str) -> None:
    make = synchronous if kind == "sync" else asynchronous
    uvicorn.run(
        make(os.environ["BENCHMARK_DATABASE_URL"]),
        host="127.0.0.1",
        port=int(os.environ["BENCHMARK_PORT"]),
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main(sys.argv[1])
