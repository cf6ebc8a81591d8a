"""Data sets on the wire."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.datasets.schema import ImageSchema

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", examples=["digits"])]


class ImageSchemaBody(BaseModel):
    """The contract that every row keeps; declared, never derived from the rows."""

    model_config = ConfigDict(extra="forbid")

    # Left out of dumps: what is known of a request before it was retried must not change with a word added later.
    kind: Literal["image"] = Field(default="image", exclude=True)
    image_shape: list[int] = Field(examples=[[28, 28]], description="(height, width) or (height, width, channels)")
    labels: list[str] = Field(examples=[["cat", "dog"]], description="The closed list of labels, in order.")
    owner_identity_type: str = Field(examples=["email"], description="What the owner column holds.")
    pixel_minimum: float = 0.0
    pixel_maximum: float = 255.0
    images_column: str = "images"
    labels_column: str = "labels"
    owners_column: str = "owners"
    record_ids_column: str = "record_ids"
    public_column: str | None = Field(default=None, description="Flags rows a backbone may be pre-trained on.")

    def as_schema(self) -> ImageSchema:
        values = self.model_dump()
        return ImageSchema(**{**values, "image_shape": tuple(self.image_shape), "labels": tuple(self.labels)})


class DatasetBody(BaseModel):
    """Register a data set from files that the service can read itself."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "digits",
                    "schema": {
                        "image_shape": [8, 8],
                        "labels": list("0123456789"),
                        "owner_identity_type": "email",
                        "pixel_maximum": 16,
                        "public_column": "public",
                    },
                    "files": {"file": "/srv/data/digits.npz"},
                }
            ]
        },
    )

    name: Name
    row_schema: ImageSchemaBody = Field(alias="schema")
    files: dict[str, str] = Field(
        examples=[{"file": "/srv/data/digits.npz"}],
        description="`file`: an NPZ with all columns; or one path per column: images, labels, owners, record_ids, public.",
    )
