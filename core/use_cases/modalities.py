"""Where a data set's contract meets torch: arrays to tensors, and the backbone that reads them. One part per kind.

Everything that scales a value comes from the contract, never from the rows: a deletion must not move what is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from core.datasets.image_schema import ImageSchema
from core.datasets.schema import LanguageSchema, Schema, TabularSchema, TextSchema
from core.domain.model import BackboneRecipe
from core.domain.task import Classification, LanguageModelling, Regression
from core.modelling import images, tabular
from core.modelling.backbone import Backbone, BackboneShape
from core.modelling.ensemble import Ensemble
from core.modelling.language_answers import continuation, likelihoods
from core.modelling.language_models import language_shape
from core.modelling.language_transformer import LanguageTransformer
from core.modelling.ridge import RidgeHead
from core.modelling.tabular_transformer import TabularTransformerShape
from core.modelling.tensors import NamedTensors
from core.modelling.text_transformer import TextTransformer, TextTransformerShape
from core.modelling.vision_encoder import VisionEncoderShape
from core.modelling.vision_transformer import VisionTransformerShape

Arrays = Mapping[str, NDArray[Any]]


def backbone_shape(schema: ImageSchema | TabularSchema, recipe: BackboneRecipe) -> BackboneShape:
    """Return the shape of the backbone that a recipe means for such rows.

    Raises:
        Impossible: there is none.
    """
    if isinstance(schema, ImageSchema):
        return VisionTransformerShape.from_recipe(
            recipe, image_shape=images.tensor_shape(schema.image_shape), classes=schema.task.outputs
        )
    return TabularTransformerShape.from_recipe(
        recipe,
        numbers=len(schema.numeric),
        categories=tuple(len(column.categories) for column in schema.categorical),
        outputs=schema.task.outputs,
        task=schema.task.name,
    )


def backbone_of(schema: Schema, recipe: BackboneRecipe, tensors: NamedTensors) -> Backbone:
    """Return the backbone that these tensors are.

    Raises:
        ValueError: they are those of another.
    """
    if isinstance(schema, TextSchema):
        return TextTransformerShape.of(tensors, recipe, schema.task.outputs).backbone(tensors)
    if isinstance(schema, ImageSchema) and recipe.directory is not None:
        read = images.tensor_shape(schema.image_shape)
        return VisionEncoderShape.of(tensors, recipe, read, schema.task.outputs).backbone(tensors)
    if isinstance(schema, LanguageSchema):
        return language_shape(tensors, recipe).backbone(tensors)
    return backbone_shape(schema, recipe).backbone(tensors)


def as_inputs(schema: Schema, arrays: Arrays, backbone: Backbone | None = None) -> Tensor:
    """Return (n, *input_shape) what a backbone reads, from rows or from questions.

    Args:
        schema: the contract, which alone scales values.
        arrays: the rows, or the questions.
        backbone: a text's words are counted by the backbone's own tokenizer; other kinds do without.
    """
    if isinstance(schema, TextSchema):
        if not isinstance(backbone, TextTransformer):
            raise TypeError("texts are read by a text transformer")
        return backbone.token_ids(arrays["texts"].tolist())
    if isinstance(schema, LanguageSchema):
        return _language(backbone).token_ids(arrays["prompts"].tolist(), arrays["texts"].tolist())
    if isinstance(schema, ImageSchema):
        return images.as_tensor(
            arrays["images"], pixel_minimum=schema.pixel_minimum, pixel_maximum=schema.pixel_maximum
        )
    ranges = [(column.minimum, column.maximum) for column in schema.numeric]
    return tabular.as_tensor(arrays["numbers"], arrays["categories"], ranges)


def as_targets(schema: Schema, arrays: Arrays, backbone: Backbone | None = None) -> Tensor:
    """Return what a model is to say about the rows, by its backbone's own tokenizer where that is needed.

    (n,) labels, (n,) numbers with the declared range at -1..1, or (n, tokens) next tokens.
    """
    task = schema.task
    if isinstance(task, LanguageModelling):
        return _language(backbone).next_tokens(arrays["prompts"].tolist(), arrays["texts"].tolist())
    if isinstance(task, Classification):
        return torch.tensor(arrays["labels"], dtype=torch.int64)
    scaled = tabular.scaled_number(arrays["values"], task.minimum, task.maximum)
    return torch.tensor(scaled, dtype=torch.float32)


def answer_questions(schema: Schema, ensemble: Ensemble | RidgeHead, questions: Arrays) -> list[dict[str, Any]]:
    """Return what an ensemble says to questions, as `core.datasets.kinds` reads them."""
    if isinstance(schema, LanguageSchema):
        if not isinstance(ensemble, Ensemble):
            raise TypeError("a language model has no head that could be solved for")
        return _said(ensemble, questions)
    return answers(schema, ensemble.logits(as_inputs(schema, questions, ensemble.backbone)))


def answers(schema: Schema, outputs: Tensor) -> list[dict[str, Any]]:
    """Return for (n, outputs) what they say: a label and its probability, or a value in the contract's units."""
    task = schema.task
    if isinstance(task, LanguageModelling):
        raise TypeError("what a language model says depends on what it was asked")
    if isinstance(task, Regression):
        numbers = tabular.unscaled_number(outputs[:, 0].numpy(), task.minimum, task.maximum)
        return [{"value": float(number)} for number in numbers]
    chances = torch.softmax(outputs, dim=1).numpy()
    return [
        {"label": task.labels[index], "probability": round(float(chances[row, index]), 6)}
        for row, index in enumerate(chances.argmax(axis=1).tolist())
    ]


def _said(ensemble: Ensemble, questions: Arrays) -> list[dict[str, Any]]:
    """Return a text's likelihood, or how a prompt goes on, in the order of the questions."""
    prompts, texts = questions["prompts"].tolist(), questions["texts"].tolist()
    weighed = [row for row, more in enumerate(questions["new_tokens"].tolist()) if not more]
    found = dict(
        zip(
            weighed,
            likelihoods(ensemble, [prompts[row] for row in weighed], [texts[row] for row in weighed]),
            strict=True,
        )
    )
    return [
        found[row] if row in found else continuation(ensemble, prompts[row], new_tokens=more)
        for row, more in enumerate(questions["new_tokens"].tolist())
    ]


def _language(backbone: Backbone | None) -> LanguageTransformer:
    if not isinstance(backbone, LanguageTransformer):
        raise TypeError("these rows are read by a language model")
    return backbone
