"""What repairs may cost and did: a balance per model, what each shard took and waits for, and what running jobs hold.

All amounts are in the unit of the model's budget: slice-epochs or seconds. Whoever writes here holds the model's lock.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    Row,
    Table,
    Text,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from core.persistence.tables import metadata, tenant_column, time_column

budgets = Table(
    "repair_budgets",
    metadata,
    tenant_column(),
    Column("model_id", Text, primary_key=True),
    Column("balance", Float, nullable=False),
    time_column("accrued_at"),
)

shares = Table(
    "repair_shards",
    metadata,
    tenant_column(),
    Column("model_id", Text, primary_key=True),
    Column("shard", Integer, primary_key=True),
    Column("slice_epochs", Float, nullable=False, comment="taken by its repairs ever since"),
    Column("seconds", Float, nullable=False, comment="that training them took"),
    Column("wanted", Float, nullable=True, comment="cost of the node that the budget did not pay for"),
    Column("restores", Boolean, nullable=True, comment="whether that node brings the shard back to full depth"),
    Index("repair_shards_wanting", "model_id", postgresql_where=text("wanted IS NOT NULL")),
)

reservations = Table(
    "repair_reservations",
    metadata,
    tenant_column(),
    Column("job_id", Text, primary_key=True),
    Column("model_id", Text, nullable=False),
    Column("amount", Float, nullable=False),
    Index("repair_reservations_by_model", "model_id"),
)


def accrue(session: Connection, *, tenant_id: str, model_id: str, per_second: float, most: float) -> float:
    """Credit the time since the last look, and return the balance. A model without one begins with nothing."""
    fresh = insert(budgets).values(tenant_id=tenant_id, model_id=model_id, balance=0.0)
    passed = func.extract("epoch", func.clock_timestamp() - budgets.c.accrued_at)
    credited = func.least(most, budgets.c.balance + per_second * passed)
    done = fresh.on_conflict_do_update(
        index_elements=["model_id"], set_={"balance": credited, "accrued_at": func.clock_timestamp()}
    )
    return float(session.execute(done.returning(budgets.c.balance)).scalar_one())


def account(session: Connection, model_id: str) -> tuple[float, float]:
    """Return the balance as it was last written, and its age in seconds; nothing where there is none."""
    age = func.extract("epoch", func.clock_timestamp() - budgets.c.accrued_at).cast(Float)
    row = session.execute(select(budgets.c.balance, age).where(budgets.c.model_id == model_id)).first()
    return (float(row[0]), float(row[1])) if row is not None else (0.0, 0.0)


def add_to_balance(session: Connection, model_id: str, amount: float) -> None:
    done = update(budgets).where(budgets.c.model_id == model_id)
    session.execute(done.values(balance=budgets.c.balance + amount))


def close_account(session: Connection, model_id: str) -> None:
    """Forget balance, wishes and reservations: another policy begins with nothing. What was taken stays known."""
    session.execute(delete(budgets).where(budgets.c.model_id == model_id))
    session.execute(delete(reservations).where(reservations.c.model_id == model_id))
    session.execute(update(shares).where(shares.c.model_id == model_id).values(wanted=None, restores=None))


def shares_of(session: Connection, model_id: str) -> dict[int, Row[Any]]:
    query = select(shares).where(shares.c.model_id == model_id)
    return {row.shard: row for row in session.execute(query.order_by(shares.c.shard))}


def charge(  # noqa: PLR0913 - who, where, and both units
    session: Connection, *, tenant_id: str, model_id: str, shard: int, slice_epochs: float, seconds: float
) -> None:
    """Add to what a shard's repairs took, whatever the policy."""
    values = {"tenant_id": tenant_id, "model_id": model_id, "shard": shard}
    fresh = insert(shares).values(**values, slice_epochs=slice_epochs, seconds=seconds)
    more = {"slice_epochs": shares.c.slice_epochs + slice_epochs, "seconds": shares.c.seconds + seconds}
    session.execute(fresh.on_conflict_do_update(index_elements=["model_id", "shard"], set_=more))


def want(  # noqa: PLR0913
    session: Connection, *, tenant_id: str, model_id: str, shard: int, amount: float | None, restores: bool | None
) -> None:
    """Note what a shard waits for; None: for nothing."""
    values = {"tenant_id": tenant_id, "model_id": model_id, "shard": shard, "slice_epochs": 0.0, "seconds": 0.0}
    wish = {"wanted": amount, "restores": restores}
    fresh = insert(shares).values(**values, **wish)
    session.execute(fresh.on_conflict_do_update(index_elements=["model_id", "shard"], set_=wish))


def reserved(session: Connection, job_id: str) -> float | None:
    return session.execute(select(reservations.c.amount).where(reservations.c.job_id == job_id)).scalar()


def reserve(session: Connection, *, tenant_id: str, job_id: str, model_id: str, amount: float) -> None:
    """Take what a job's node costs off the balance."""
    values = {"tenant_id": tenant_id, "job_id": job_id, "model_id": model_id, "amount": amount}
    session.execute(insert(reservations).values(**values))
    add_to_balance(session, model_id, -amount)


def settle(session: Connection, model_id: str, job_id: str, actual: float | None) -> None:
    """Replace what was reserved for a job by what it really took; None: it took just that."""
    mine = delete(reservations).where(reservations.c.job_id == job_id).returning(reservations.c.amount)
    amount = session.execute(mine).scalar()
    if amount is not None and actual is not None:
        add_to_balance(session, model_id, amount - actual)


def tidy(session: Connection, model_id: str) -> None:
    """Drop the reservations of jobs that ended otherwise: what never began is given back, what died was spent."""
    from core.persistence.jobs import ENDS, jobs

    ended = delete(reservations).where(
        reservations.c.model_id == model_id, jobs.c.id == reservations.c.job_id, jobs.c.state.in_(ENDS)
    )
    unused = sum(
        row.amount for row in session.execute(ended.returning(reservations.c.amount, jobs.c.attempt)) if not row.attempt
    )
    if unused:
        add_to_balance(session, model_id, unused)


def models_in_want(session: Connection) -> list[str]:
    """Return the models that have a shard which waits for its model's budget."""
    query = select(shares.c.model_id).where(shares.c.wanted.is_not(None)).distinct()
    return list(session.execute(query.order_by(shares.c.model_id)).scalars())
