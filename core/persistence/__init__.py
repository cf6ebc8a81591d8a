"""The database: `database.py` holds the only commit; every other page is one noun, its tables and our questions to them.

A question takes a `Connection` inside somebody's transaction and never commits. Every table carries its tenant, and
every question that answers a caller is asked for one tenant. Times are the database's own, never a worker's.
"""
