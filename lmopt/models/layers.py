"""Drop encoder layers of a model so that it loads again as it is."""

from collections.abc import Sequence

from transformers import PreTrainedModel

from lmopt.errors import UserError
from lmopt.models.families.registry import family_of
from lmopt.models.shape import record_shape, select_layers


def drop_layers(model: PreTrainedModel, indices: Sequence[int]) -> None:
    """Keep the encoder layers `indices` (ascending), in place; the configuration follows.

    The configuration also remembers where the layers came from: `kept_layers` of `kept_of`.

    Source: Sanh et al. (2019), DistilBERT, section 3 (every other layer).

    Raises:
        ValueError: The layers of this model cannot be dropped.
    """
    config = model.config
    family = family_of(config.model_type)
    if reason := family.no_layers(config.to_dict()):
        raise UserError(
            f"layers of this {config.model_type} model cannot be dropped: {reason}; "
            "leave layers out"
        )
    layers, count = family.layers(model), config.num_hidden_layers
    origin = getattr(config, "kept_layers", range(count))
    if len(layers) == count:  # Of ALBERT with one group, one layer is run so many times.
        kept = [layers[i] for i in indices]
        for name, value in config.to_dict().items():
            of_layers = family.layer_lists is None or name in family.layer_lists
            if of_layers and isinstance(value, list) and len(value) == count:
                setattr(config, name, [value[i] for i in indices])
        select_layers(config, count, indices)
        del layers[len(indices) :]
        for i, layer in enumerate(kept):
            layers[i] = layer
    config.num_hidden_layers = len(indices)
    config.kept_layers = [origin[i] for i in indices]
    config.kept_of = getattr(config, "kept_of", count)
    record_shape(config, **family.layer_entries(model))
