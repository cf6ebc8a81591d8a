"""Deployments that were built once, in peace: the worlds that stacks are copies of, and fresh builds to compare with.

Both lie on one throw-away PostgreSQL, as databases that others are copied from, and both are built in this process.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from core.persistence.database import migrate
from core.settings import Settings
from core.use_cases.doors import Doors, open_doors
from core.use_cases.prepare_service import prepare_service
from tests.faults.proof import Leaves, leaves_of, records_of
from tests.integration import world

OWNERS = 36
"""Half of them may be deleted; a fresh build on fewer than eighteen would be refused."""


@dataclass(frozen=True)
class World:
    """A deployment with its models built, to be copied: nothing runs in it."""

    server: str
    """Address of a database on the server that is never dropped."""
    template: str
    directory: Path
    models: tuple[str, ...]
    repair: bool
    """Whether the models are repaired after deletions."""
    leaves: Mapping[str, Leaves]
    """Per model what each slice held before anybody was deleted."""
    records: Mapping[int, frozenset[bytes]]
    """Per owner the references of their records."""
    admin_key: str


@dataclass
class Worlds:
    """What was built so far on one server, in one directory."""

    server: str
    directory: Path
    _built: dict[tuple[int, bool], World] = field(default_factory=dict)
    _digests: dict[frozenset[int], str] = field(default_factory=dict)
    _empty: str = ""

    def built(self, models: int = 1, *, repair: bool = True) -> World:
        """Return a world with so many models over the same rows, all of one recipe."""
        if (models, repair) not in self._built:
            self._built[models, repair] = self._build(models, repair=repair)
        return self._built[models, repair]

    def fresh_digest(self, gone: frozenset[int]) -> str:
        """Return the content digest of a model that was built on everybody but these owners."""
        if gone not in self._digests:
            with self._deployment() as (doors, _, _):
                world.add_dataset(doors, owners=OWNERS, without=tuple(sorted(gone)))
                model = world.add_model(doors)
                world.drain(doors)
                self._digests[gone] = world.serving(doors, model)["manifest_digest"]
        return self._digests[gone]

    def _build(self, models: int, *, repair: bool) -> World:
        with self._deployment() as (doors, name, admin_key):
            world.add_dataset(doors, owners=OWNERS)
            made = tuple(
                world.add_model(doors, "classifier" if not number else f"classifier-{number}", repair=repair)
                for number in range(models)
            )
            world.drain(doors)
            leaves = {model: leaves_of(doors, model) for model in made}
            records = records_of(doors, range(OWNERS))
            return World(self.server, name, doors.settings.data_directory, made, repair, leaves, records, admin_key)

    @contextmanager
    def _deployment(self) -> Iterator[tuple[Doors, str, str]]:
        """Make a deployment with the fixed keys of `tests.integration.world`, its database and its admin's API key."""
        name = f"faults_world_{secrets.token_hex(4)}"
        with psycopg.connect(self.server, autocommit=True) as connection:
            copied = f' TEMPLATE "{self._empty}"' if self._empty else ""
            connection.execute(f'CREATE DATABASE "{name}"{copied}')
            url = f"{self.server.rpartition('/')[0]}/{name}"
            doors = open_doors(
                Settings(
                    database_url=url, data_directory=self.directory / name, broker_url="", s3_endpoint="", repair=True
                )
            )
            try:
                if not self._empty:
                    migrate(doors.database)
                    doors.database.close()
                    self._empty = f"{name}_empty"
                    connection.execute(f'CREATE DATABASE "{self._empty}" TEMPLATE "{name}"')
                world.settle(doors)
                admin_key = prepare_service(doors) or ""
                yield doors, name, admin_key
            finally:
                doors.database.close()
