"""Make a model's backbone: pre-trained on public rows, drawn by chance, or read from a model's directory. Loads torch."""

from __future__ import annotations

from collections.abc import Callable

from core.datasets.schema import ImageSchema, LanguageSchema, Schema, TextSchema
from core.domain.errors import Impossible
from core.domain.model import BackboneRecipe
from core.modelling.language_models import read_language_model
from core.modelling.tensors import NamedTensors
from core.modelling.text_transformer import read_encoder
from core.modelling.vision_encoder import read_vision_encoder
from core.settings import Settings
from core.unlearning.exact.backbone import drawn, fitted_head, pretrain
from core.use_cases.adopt_encoder import files_digest, read_encoder_files
from core.use_cases.modalities import as_inputs, as_targets, backbone_of, backbone_shape
from core.use_cases.read_rows import PlainRows

Progress = Callable[[int], None]


def make_backbone(  # noqa: PLR0913 - rows, what they are, what is wanted, chance, where files lie, and a witness
    rows: PlainRows, schema: Schema, recipe: BackboneRecipe, *, seed: int, settings: Settings, progress: Progress
) -> NamedTensors:
    """Return the tensors of a backbone, its public head included; the same seed gives the same bits.

    Raises:
        Impossible: the encoder's directory is not what it was when the model was registered.
    """
    # Sorted by reference, so that the order of upload is no part of the result.
    order = sorted(range(len(rows)), key=lambda row: rows.records[row].tobytes())
    arrays = {name: array[order] for name, array in rows.arrays.items()}
    if isinstance(schema, LanguageSchema):
        return _encoder(schema, recipe, settings)
    targets = as_targets(schema, arrays)
    if recipe.directory is not None:
        tensors = _encoder(schema, recipe, settings)
        backbone = backbone_of(schema, recipe, tensors)
        if len(rows) == 0:
            return tensors
        return tensors | fitted_head(
            backbone, as_inputs(schema, arrays, backbone), targets, recipe, seed=seed, progress=progress
        )
    assert not isinstance(schema, TextSchema)  # noqa: S101 - it would have named a directory
    shape = backbone_shape(schema, recipe)
    if len(rows) == 0:
        return drawn(shape, seed=seed)
    return pretrain(as_inputs(schema, arrays), targets, shape, recipe, seed=seed, progress=progress)


def _encoder(schema: Schema, recipe: BackboneRecipe, settings: Settings) -> NamedTensors:
    files = read_encoder_files(recipe.directory or "", settings, schema.kind)
    if files_digest(files) != recipe.directory_digest:
        raise Impossible("the encoder's directory is not what it was when the model was registered")
    if isinstance(schema, LanguageSchema):
        return read_language_model(files, layers=recipe.layers)
    if isinstance(schema, ImageSchema):
        return read_vision_encoder(files, layers=recipe.layers, outputs=schema.task.outputs)
    return read_encoder(files, layers=recipe.layers, outputs=schema.task.outputs)
