"""What every test starts from: an environment that says nothing of Lethe but how the tests shall run, and pytest's own logging."""

from __future__ import annotations

import os

import hypothesis
import pytest

# How long an example takes is the machine's business, and no test's: nothing here is a timed test.
hypothesis.settings.register_profile("lethe", deadline=None)
hypothesis.settings.load_profile("lethe")

for _name in [name for name in os.environ if name.startswith("LETHE_") and not name.startswith("LETHE_TEST_")]:
    # A developer's own service, or the servers of `python -m tests`, must not become the service under test.
    del os.environ[_name]


@pytest.fixture(autouse=True)
def _logging_stays_pytests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that a test runs in this process must not set up logging for all tests after it.

    Its handlers would replace those that catch logs, and write to a stream that is closed when the test ends. What
    `configure_logging` does is tested in processes of its own.
    """
    monkeypatch.setattr("core.logging.configure_logging", lambda level=None: None)  # noqa: ARG005 - the same shape
