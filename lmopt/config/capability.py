"""What a runtime can store and a model's shape allows, known before anything is trained.

Imports pydantic only.
"""

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


def rank_refusal(rank: int, width: int) -> str | None:
    """Why word embeddings of `width` numbers are no product of two matrices of this rank."""
    if 1 <= rank < width:
        return None
    return f"embedding_rank must be in [1, {width - 1}] for this model, got {rank}"
