"""`make migrate m="pre_add_a_column"`: write the migration that brings the present schema to what the models say.

A private PostgreSQL in a temporary directory is migrated to the present head and compared with the models. The file is
a draft: read it, name what it does, and think of the code that runs beside it (`pre_` before, `post_` after a release).
"""

from __future__ import annotations

import re
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from alembic import command

from cli import private_postgres
from core.persistence.database import Database, migrate, migration_config


def main(slug: str) -> None:
    if not re.fullmatch(r"(pre|post)_[a-z0-9_]+", slug):
        sys.exit("name a migration in small letters, pre_… or post_… the code that needs it")
    revision = f"{datetime.now(UTC):%Y_%m_%d}_{slug}"
    with tempfile.TemporaryDirectory() as scratch:
        server, url = private_postgres.start(Path(scratch) / "postgres")
        try:
            migrate(Database(url))
            config = migration_config(url)
            config.set_main_option("file_template", "%%(rev)s")
            command.revision(config, message=slug.replace("_", " "), autogenerate=True, rev_id=revision)
        finally:
            private_postgres.stop(server)
    print(f"migrations/versions/{revision}.py")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main(sys.argv[1])
