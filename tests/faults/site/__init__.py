"""A directory to put on the path of Python processes; see `sitecustomize.py`."""
