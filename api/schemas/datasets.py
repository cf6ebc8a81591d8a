"""Data sets on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from api.schemas.common import CHOICE
from core.datasets.schema import ImageSchema, LanguageSchema, TabularSchema, TextSchema

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


class NumericColumnBody(BaseModel):
    """A column of numbers within a declared range."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, examples=["age"])
    minimum: float = Field(examples=[0], allow_inf_nan=False)
    maximum: float = Field(examples=[120], allow_inf_nan=False)
    optional: bool = Field(default=False, description="Whether a cell may be empty.")


class CategoricalColumnBody(BaseModel):
    """A column of words from a closed list."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, examples=["sex"])
    categories: list[str] = Field(examples=[["f", "m"]])
    optional: bool = Field(default=False, description="Whether a cell may be empty.")


class LabelTargetBody(BaseModel):
    """What is to be predicted: one of these labels."""

    model_config = ConfigDict(extra="forbid")

    column: str = Field(min_length=1, examples=["outcome"])
    labels: list[str] = Field(examples=[["no", "yes"]])


class NumberTargetBody(BaseModel):
    """What is to be predicted: a number within this range."""

    model_config = ConfigDict(extra="forbid")

    column: str = Field(min_length=1, examples=["progression"])
    minimum: float = Field(examples=[0], allow_inf_nan=False)
    maximum: float = Field(examples=[400], allow_inf_nan=False)


def _choice(field: str, present: str, absent: str) -> Discriminator:
    """Return what tells two bodies apart by a field that only one of them has."""

    def told(value: Any) -> str:
        found = field in value if isinstance(value, Mapping) else hasattr(value, field)
        return CHOICE + (present if found else absent)

    return Discriminator(told)


ColumnBody = Annotated[
    Annotated[NumericColumnBody, Tag(f"{CHOICE}numeric")]
    | Annotated[CategoricalColumnBody, Tag(f"{CHOICE}categorical")],
    _choice("categories", "categorical", "numeric"),
]
TargetBody = Annotated[
    Annotated[LabelTargetBody, Tag(f"{CHOICE}labels")] | Annotated[NumberTargetBody, Tag(f"{CHOICE}number")],
    _choice("labels", "labels", "number"),
]


class TabularSchemaBody(BaseModel):
    """The contract that every row of a table keeps; declared, never derived from the rows."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["tabular"]
    features: list[ColumnBody] = Field(
        description="What a model may look at: numeric columns and columns of categories."
    )
    target: TargetBody
    owner_identity_type: str = Field(examples=["email"], description="What the owner column holds.")
    owners_column: str = "owners"
    record_ids_column: str = "record_ids"
    public_column: str | None = Field(default=None, description="Flags rows a backbone may be pre-trained on.")

    def as_schema(self) -> TabularSchema:
        return TabularSchema.from_json(self.model_dump())


class TextSchemaBody(BaseModel):
    """The contract that every text keeps; declared, never derived from the rows."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["text"]
    labels: list[str] = Field(examples=[["spam", "ham"]], description="The closed list of labels, in order.")
    most_characters: int = Field(default=20_000, description="A longer text is refused.")
    owner_identity_type: str = Field(examples=["email"], description="What the owner column holds.")
    texts_column: str = "texts"
    labels_column: str = "labels"
    owners_column: str = "owners"
    record_ids_column: str = "record_ids"
    public_column: str | None = Field(default=None, description="Flags rows that the public head may learn.")

    def as_schema(self) -> TextSchema:
        return TextSchema.from_json(self.model_dump())


class LanguageSchemaBody(BaseModel):
    """The contract for what a language model learns: texts, or prompts and what follows each."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["language"]
    most_characters: int = Field(default=20_000, description="A longer text or prompt is refused.")
    owner_identity_type: str = Field(examples=["email"], description="What the owner column holds.")
    texts_column: str = Field(default="texts", description="What is learned, token by token.")
    prompts_column: str | None = Field(
        default=None, description="What stands before a text: read, and not learned. A cell may be empty."
    )
    owners_column: str = "owners"
    record_ids_column: str = "record_ids"
    public_column: str | None = Field(
        default=None, description="Flags rows that belong to nobody; nodes do not learn them."
    )

    def as_schema(self) -> LanguageSchema:
        return LanguageSchema.from_json(self.model_dump())


def _kind(value: Any) -> str:
    kind = value.get("kind", "image") if isinstance(value, Mapping) else getattr(value, "kind", "image")
    return f"{CHOICE}{kind}" if isinstance(kind, str) else CHOICE


SchemaBody = Annotated[
    Annotated[ImageSchemaBody, Tag(f"{CHOICE}image")]
    | Annotated[TabularSchemaBody, Tag(f"{CHOICE}tabular")]
    | Annotated[TextSchemaBody, Tag(f"{CHOICE}text")]
    | Annotated[LanguageSchemaBody, Tag(f"{CHOICE}language")],
    Discriminator(_kind),
]


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
    row_schema: SchemaBody = Field(alias="schema")
    files: dict[str, str] = Field(
        examples=[{"file": "/srv/data/digits.npz"}],
        description="`file`: an NPZ, CSV, JSON lines or Parquet file with all columns; or, of images, one path per column.",
    )


class AdditionBody(BaseModel):
    """Add records to a data set from files that the service can read itself."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"files": {"file": "/srv/data/more-digits.npz"}}]}
    )

    files: dict[str, str] = Field(
        examples=[{"file": "/srv/data/more-digits.npz"}], description="As when the data set was registered."
    )
