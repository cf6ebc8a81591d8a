from __future__ import annotations

import json
from typing import Any

import pytest

from core.datasets.schema import ImageSchema, schema_from_json


def make_schema(**changes: Any) -> ImageSchema:
    plain: dict[str, Any] = {"image_shape": (4, 4), "labels": ("cat", "dog"), "owner_identity_type": "email"}
    return ImageSchema(**{**plain, **changes})


def test_a_schema_comes_back_from_json_as_it_was() -> None:
    schema = make_schema(image_shape=(8, 6, 3), pixel_maximum=1.0, public_column="is_public")
    returned = ImageSchema.from_json(json.loads(json.dumps(schema.as_json())))
    assert returned == schema
    assert returned.digest() == schema.digest()


@pytest.mark.parametrize(
    "changes",
    [
        {"image_shape": (4, 5)},
        {"labels": ("dog", "cat")},
        {"owner_identity_type": "customer_id"},
        {"pixel_maximum": 254.0},
        {"owners_column": "who"},
        {"public_column": "public"},
    ],
)
def test_every_clause_of_the_contract_is_in_its_digest(changes: dict[str, Any]) -> None:
    assert make_schema(**changes).digest() != make_schema().digest()


def test_columns_are_named_by_role() -> None:
    assert make_schema(owners_column="who").columns()["owners"] == "who"
    assert "public" not in make_schema().columns()
    assert make_schema(public_column="open").columns()["public"] == "open"


@pytest.mark.parametrize(
    "changes",
    [
        {"image_shape": (4,)},
        {"image_shape": (4, 4, 3, 1)},
        {"image_shape": (0, 4)},
        {"image_shape": (4, 5000)},
        {"image_shape": (4, 4, 65)},
        {"image_shape": (4.0, 4)},
        {"image_shape": (True, 4)},
        {"labels": ("cat",)},
        {"labels": ("cat", "cat")},
        {"labels": ("cat", " dog")},
        {"labels": ("cat", "")},
        {"labels": (0, 1)},
        {"owner_identity_type": "E-mail"},
        {"pixel_minimum": 255.0},
        {"pixel_maximum": float("nan")},
        {"pixel_maximum": 1e39},
        {"owners_column": "labels"},
        {"public_column": ""},
    ],
)
def test_nonsense_is_refused_at_the_door(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|image_shape"):
        make_schema(**changes)


def test_the_digest_of_an_image_contract_is_that_of_the_first_release() -> None:
    """Backbones are cached and seeded by the stored contract: a word more in it would change every bit of a model."""
    assert make_schema().digest() == "d72114e0bc7d28c861bfc33d13db1f9989621e4cd81f0548f8811fd47c675dc6"
    assert "kind" not in make_schema().as_json()


def test_a_stored_contract_without_a_kind_is_one_of_images() -> None:
    schema = make_schema()
    assert schema_from_json(schema.as_json()) == schema_from_json({"kind": "image", **schema.as_json()}) == schema
