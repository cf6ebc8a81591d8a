from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import Path

import pytest

from core.lattice.placement import Place, place

KEY = bytes(range(32))
PAGE = Path(__file__).parents[3] / "docs" / "placement.md"


def reference(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def test_a_fixed_owner_is_placed_where_it_always_was() -> None:
    assert place(KEY, reference("owner"), shards=5, slices=4) == Place(2, 2)
    assert place(KEY, reference("owner"), shards=20, slices=6) == Place(15, 0)
    assert place(KEY, reference("another owner"), shards=1024, slices=64) == Place(962, 41)


def test_every_vector_on_the_documentation_page_holds() -> None:
    vectors = re.findall(r"^\| `(.+)` \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", PAGE.read_text(), re.MULTILINE)
    assert len(vectors) == 11
    for text, shards, slices, shard, slice_number in vectors:
        placed = place(KEY, reference(text), shards=int(shards), slices=int(slices))
        assert placed == Place(int(shard), int(slice_number))


def test_the_python_on_the_documentation_page_agrees(capsys: pytest.CaptureFixture[str]) -> None:
    [code] = re.findall(r"```python\n(.+?)```", PAGE.read_text(), re.DOTALL)
    exec(compile(code, "placement.md", "exec"), {})  # noqa: S102
    assert capsys.readouterr().out.strip() == "(2, 2)"


def test_every_slice_gets_its_share_of_owners() -> None:
    counts = Counter(place(KEY, reference(str(number)), shards=5, slices=4) for number in range(20_000))
    assert len(counts) == 20
    assert all(850 < count < 1150 for count in counts.values())  # 1000 expected, standard deviation 31


def test_another_key_places_the_same_owners_elsewhere() -> None:
    owners = [reference(str(number)) for number in range(1000)]
    other = bytes(32)
    same = sum(place(KEY, owner, shards=5, slices=4) == place(other, owner, shards=5, slices=4) for owner in owners)
    assert same < 100  # 50 by chance


@pytest.mark.parametrize(
    ("key", "owner", "shards", "slices"),
    [(KEY[:31], bytes(32), 5, 4), (KEY + b"x", bytes(32), 5, 4), (KEY, bytes(31), 5, 4), (KEY, bytes(32), 0, 4)],
)
def test_what_cannot_be_placed_is_refused(key: bytes, owner: bytes, shards: int, slices: int) -> None:
    with pytest.raises(ValueError, match=r"placement key|owner reference|lattice"):
        place(key, owner, shards=shards, slices=slices)
