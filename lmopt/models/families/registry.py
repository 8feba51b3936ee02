"""The families of encoders that lmopt knows, and what is asked of a model by its family."""

from typing import Any

from lmopt.errors import UserError
from lmopt.models.families.albert import ALBERT
from lmopt.models.families.base import Family, Kind, ModelConfig, Units
from lmopt.models.families.bert import BERT
from lmopt.models.families.deberta import DEBERTA
from lmopt.models.families.distilbert import DISTILBERT
from lmopt.models.families.modernbert import MODERNBERT
from lmopt.models.families.mpnet import MPNET
from lmopt.models.families.other import OTHER

FAMILIES: tuple[Family, ...] = (BERT, DISTILBERT, ALBERT, MPNET, DEBERTA, MODERNBERT)
_BY_TYPE = {model_type: family for family in FAMILIES for model_type in family.model_types}
_WORDS: dict[Kind, str] = {"ffn": "neurons", "heads": "heads"}
# The field of a recipe that removes units of a kind.
FIELDS: dict[Kind, str] = {"ffn": "ffn_keep", "heads": "heads_keep"}


def family_of(model_type: str | None) -> Family:
    """The family of a `model_type` of config.json; one without a file of its own is OTHER."""
    return _BY_TYPE.get(model_type or "", OTHER)


def encoder_layers(model: Any) -> Any:
    """The stack of encoder layers of a model, an `nn.ModuleList`.

    ALBERT's layers share their weights: its stack has one entry for each group of them.

    Raises:
        ValueError: Nothing in a model of an unknown family looks like one.
    """
    return family_of(model.config.model_type).layers(model)


def find_units(model: Any, kind: Kind) -> list[Units]:
    """The neurons or heads of every layer; layers that share their weights (ALBERT) are one.

    Raises:
        ValueError: None can be removed from this model.
    """
    config = model.config.to_dict()
    family = family_of(config["model_type"])
    if reason := family.no_units(config, kind):
        raise UserError(
            f"no {_WORDS[kind]} can be removed from this {config['model_type']} model: {reason}; "
            f"leave {FIELDS[kind]} out"
        )
    return family.units(model, kind)


def embedding_width(config: ModelConfig) -> int | None:
    """The length of a word embedding; None where config.json does not say."""
    names = family_of(config.get("model_type")).embedding_names
    return next((int(config[name]) for name in names if name in config), None)


def no_width(config: ModelConfig) -> str | None:
    """Why a model's hidden states cannot be made narrower; None if they can."""
    family = family_of(config.get("model_type"))
    width, hidden = embedding_width(config), config.get(family.names.hidden_size)
    if width is not None and hidden is not None and width != hidden:
        return f"its word embeddings are {width} wide, its hidden states {hidden}"
    return family.no_width(config)


def longest_text(config: ModelConfig) -> int | None:
    """The most tokens of a text that a model has positions for; None: any number."""
    positions = config.get("max_position_embeddings")
    if positions is None or positions <= 0:
        return None
    left: int = positions - family_of(config.get("model_type")).first_position(config)
    return left if left > 0 else None
