"""What a runtime can store and a model's shape allows, known before anything is trained.

Imports pydantic only.
"""

from collections.abc import Mapping
from typing import Any

from lmopt.config.recipe import BITS, QUANTIZATION_FIELDS, Bits, Recipe
from lmopt.config.runtime import RuntimeName

RUNTIME_BITS: dict[RuntimeName, tuple[Bits, ...]] = {
    "openvino": BITS,
    "onnxruntime": (32, 16, 8, 4),
    "torch": (32, 16),
}
# Ways to store weights, and training on them, that only OpenVINO's artifacts follow.
OPENVINO_FIELDS = ("clusters", "finetune_epochs", *sorted(QUANTIZATION_FIELDS))


def refusal(runtime: RuntimeName, recipe: Recipe) -> str | None:
    """Why `runtime` cannot do what the recipe asks for, in one line that begins with the field.

    None if it can. A field is refused at any value but its default, whether or not it matters
    beside the others: in a search it may.
    """
    if runtime == "openvino":
        return None
    for name in OPENVINO_FIELDS:
        value = getattr(recipe, name)
        if value != Recipe.model_fields[name].default:
            return (
                f"{name} needs runtime.name openvino, got {value} with {runtime}: "
                f"leave {name} out or change runtime.name"
            )
    widths = RUNTIME_BITS[runtime]
    if recipe.bits not in widths:
        known = f"{', '.join(str(bits) for bits in widths[:-1])} or {widths[-1]}"
        others = [name for name, bits in RUNTIME_BITS.items() if recipe.bits in bits]
        return (
            f"bits must be {known} with runtime.name {runtime}, got {recipe.bits}: "
            f"take one of these or runtime.name {' or '.join(others)}"
        )
    return None


def shape(config: Mapping[str, Any]) -> dict[str, int | None]:
    """`layers`, `hidden_size` and `heads` of a model by its config.json; None where it has none."""
    names = {
        "layers": ("num_hidden_layers", "n_layers"),
        "hidden_size": ("hidden_size", "dim"),
        "heads": ("num_attention_heads", "n_heads"),
    }
    return {
        name: next((config[key] for key in keys if key in config), None)
        for name, keys in names.items()
    }


def shape_refusal(config: Mapping[str, Any], recipe: Recipe) -> str | None:
    """Why a model with this config.json cannot be cut so, as `refusal` says it; None if it can."""
    known = shape(config)
    layers, hidden, heads = (known[name] for name in ("layers", "hidden_size", "heads"))
    reasons = []
    if layers and recipe.layers:
        reasons.append(layers_refusal(recipe.layers, layers))
    if hidden and heads and recipe.hidden_size is not None:
        reasons.append(width_refusal(recipe.hidden_size, hidden, heads))
    return next((reason for reason in reasons if reason is not None), None)


def layers_refusal(keep: int, layers: int) -> str | None:
    """Why so many of `layers` cannot be kept."""
    if 1 <= keep <= layers:
        return None
    return f"layers must be in [1, {layers}] for this model, got {keep}"


def width_refusal(width: int, hidden_size: int, heads: int) -> str | None:
    """Why a model cannot be cut to `width`: it keeps whole heads, and gets narrower."""
    head = hidden_size // heads
    if width < hidden_size and width % head == 0:
        return None
    return (
        f"hidden_size must be a multiple of {head} (the width of a head) below {hidden_size} for "
        f"this model, or null for as it is, got {width}"
    )
