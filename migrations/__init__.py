"""Alembic's room: `env.py` runs migrations inside the caller's transaction, `versions/` holds one change per file."""
