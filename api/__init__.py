"""The web front door. `app.py` wires it, `routes/` has one file per noun, `schemas/` the words on the wire.

Nothing here loads torch: a route reads the body, names the caller and calls one use case.
"""
