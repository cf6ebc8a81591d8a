"""Add records to a data set as its next version. Models go on learning from the version they chose until they are advanced.

Records are new, owners may be known. Nothing of what was there is touched: every version's rows are sealed in blocks of
their own, under keys of their own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from core.datasets.flaws import Flaws
from core.datasets.schema import schema_from_json
from core.domain.access import Caller, Scope
from core.domain.errors import DatasetNotFound, RowsRefused
from core.domain.references import record_reference
from core.persistence import datasets
from core.use_cases.answer_once import Answer, OnceKey
from core.use_cases.doors import Doors
from core.use_cases.ingest_rows import Intake, ingest_rows
from core.use_cases.read_datasets import describe_version


def grow_dataset(dataset: str, files: Mapping[str, bytes], *, caller: Caller, once: OnceKey, doors: Doors) -> Answer:
    """Add the records of files to a data set, and answer with the version that they make.

    Args:
        dataset: id or name.
        files: as when it was registered; they keep the same schema.
        caller: whoever asks.
        once: makes a repeat safe.
        doors: the outside.

    Raises:
        DatasetNotFound: the tenant has none such.
        RowsRefused, UnreadableFile, UnsafeFile, TooLarge: the files break the schema or the limits, a record id is or was
            taken, or a row is public.
        OwnerSuppressed: rows belong to owners who were deleted and have not consented anew.
    """
    caller.require(Scope.DATASETS_WRITE)
    with doors.database.transaction() as session:
        found = datasets.find_dataset(session, caller.tenant_id, dataset)
    if found is None:
        raise DatasetNotFound

    def keep(session: Connection, intake: Intake) -> Answer:
        held = datasets.lock_dataset(session, found.id)
        _refuse_what_cannot_be_added(session, found.id, intake)
        newcomers = intake.owners - datasets.known_owners(session, found.id, intake.owners)
        try:
            copies = intake.keep(session, found.id, held.version + 1)
        except IntegrityError as error:
            if "records_pkey" not in str(error.orig):
                raise
            # Two ids that one normalisation makes the same: `validate` told them apart, the references do not.
            raise RowsRefused("two rows have the same record id") from None
        number = datasets.add_version(
            session,
            held,
            records=len(intake.rows.record_ids),
            owners=len(intake.owners),
            new_owners=len(newcomers),
            copies=copies,
        )
        (added,) = datasets.page_of_versions(session, found.id, limit=1, before=number + 1)
        return Answer(status=201, body=describe_version(added))

    schema = schema_from_json(found.schema)
    return ingest_rows(files, schema, keep, caller=caller, once=once, doors=doors)


def _refuse_what_cannot_be_added(session: Connection, dataset_id: str, intake: Intake) -> None:
    flaws = Flaws(intake.schema.columns())
    detail = "the backbone is fixed: public rows come with a data set's first version only"
    flaws.at("public", intake.rows.public, "public_row", detail)
    references = [record_reference(intake.key, record_id) for record_id in intake.rows.record_ids]
    known = datasets.known_records(session, dataset_id, references)
    taken = np.array([reference in known for reference in references], bool)
    flaws.at("record_ids", taken, "record_id_taken", "the data set has, or had, a record with this id")
    flaws.refuse_if_any()
