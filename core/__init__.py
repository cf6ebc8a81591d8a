"""Lethe's inner rooms: what we mean (`domain`), what we do (`use_cases`), and what we hold and act with (the rest).

Imports point inward, as `docs/architecture.md` draws them; the front doors are `api`, `worker` and `cli`.
"""
