"""The limits of each runtime, known before anything is trained."""

from lmopt.config.runtime import BITS, Bits, RuntimeName
from lmopt.methods.recipe import Recipe

RUNTIME_BITS: dict[RuntimeName, tuple[Bits, ...]] = {
    "openvino": BITS,
    "onnxruntime": (32, 16, 8, 4),
    "torch": (32, 16),
}
# Ways to store weights, and training on them, that only OpenVINO's artifacts follow.
OPENVINO_FIELDS = (
    "clusters",
    "finetune_epochs",
    "activation_bits",
    "embedding_bits",
    "mixed_share",
    "number_format",
    "rounding",
)


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
