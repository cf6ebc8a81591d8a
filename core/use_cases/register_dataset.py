"""Register a data set: its first version, its contract, and a name; see `ingest_rows` for what becomes of the rows."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from core.datasets.schema import Schema
from core.domain.access import Caller, Scope
from core.domain.errors import NameTaken
from core.domain.identifiers import new_identifier
from core.persistence import datasets
from core.use_cases.answer_once import Answer, OnceKey
from core.use_cases.doors import Doors
from core.use_cases.ingest_rows import Intake, ingest_rows
from core.use_cases.read_datasets import describe_dataset


def register_dataset(  # noqa: PLR0913
    name: str, schema: Schema, files: Mapping[str, bytes], *, caller: Caller, once: OnceKey, doors: Doors
) -> Answer:
    """Register a data set from the bytes of its files.

    Raises:
        RowsRefused, UnreadableFile, UnsafeFile, TooLarge: the files break the schema or the limits.
        OwnerSuppressed: rows belong to owners who were deleted and have not consented anew.
        NameTaken: the tenant has a data set of that name.
    """
    caller.require(Scope.DATASETS_WRITE)

    def keep(session: Connection, intake: Intake) -> Answer:
        dataset_id = new_identifier("ds")
        copies = intake.keep(session, dataset_id, version=1)
        try:
            datasets.add_dataset(
                session,
                tenant_id=caller.tenant_id,
                id=dataset_id,
                name=name,
                schema=schema.as_json(),
                records=len(intake.rows.record_ids),
                public_records=int(intake.rows.public.sum()),
                owners=len(intake.owners),
                copies=copies,
            )
        except IntegrityError as error:
            if "datasets_name_unique" not in str(error.orig):
                raise
            raise NameTaken("a data set of that name exists already") from None
        return Answer(status=201, body=describe_dataset(datasets.find_dataset(session, caller.tenant_id, dataset_id)))

    return ingest_rows(files, schema, keep, caller=caller, once=once, doors=doors)
