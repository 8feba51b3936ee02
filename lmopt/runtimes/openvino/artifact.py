"""Make an artifact: convert a classifier to OpenVINO and store its matrices as planned.

NNCF compresses where activations count, `lmopt.runtimes.openvino.weights` by the weights alone.
`save_model` halves the weights unless told not to.
"""

import logging
import math
from collections.abc import Collection, Iterable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from lmopt.config.base import Bits
from lmopt.data.tokens import Batch
from lmopt.models.families.registry import family_of
from lmopt.models.loading import load_classifier
from lmopt.runtimes.base import INPUTS
from lmopt.runtimes.openvino.first_token import keep_first_token
from lmopt.runtimes.openvino.weights import (
    MODEL_FILES,
    clear_padding,
    name_layers,
    store,
    weight_constants,
)
from lmopt.runtimes.packing import pack
from lmopt.runtimes.tracing import Logits, example_inputs, forget_traced_classes
from lmopt.weights.plan import group_size, plan_storage
from lmopt.weights.rounding import Format


def convert(model: PreTrainedModel) -> Any:
    """Convert a classifier to an `openvino.Model` with dynamic batch and length."""
    import openvino as ov

    model.eval()
    model.set_attn_implementation("eager")
    shape = ov.PartialShape([-1, -1])
    with torch.inference_mode():
        converted = ov.convert_model(
            Logits(model),
            example_input=example_inputs(),
            input=[(name, shape, ov.Type.i64) for name in INPUTS],
        )
    converted.outputs[0].get_tensor().set_names({"logits"})
    if family_of(model.config.model_type).head_reads(model.config.to_dict()) != "mean":
        keep_first_token(converted)
    forget_traced_classes()
    return converted


def _consumers(constants: Iterable[Any]) -> list[str]:
    """Names of the operations that use the constants, as NNCF wants them ignored."""
    names = []
    for constant in constants:
        for target in constant.output(0).get_target_inputs():
            node = target.get_node()
            if node.get_type_name() == "Convert":
                names += _consumers([node])
            else:
                names.append(node.get_friendly_name())
    return names


def store_by_activations(
    model: Any, stored: Format, names: set[str], rounding: str, calibration: Sequence[Batch]
) -> Any:
    """Let NNCF store the named matrices, scales and codes fitted to what the texts activate.

    `rounding` is "scale_estimation", "awq" or "gptq". Everything else must be stored afterwards:
    NNCF reads no model that has 3- or 2-bit weights already.
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    modes = {
        (4, "int"): nncf.CompressWeightsMode.INT4_ASYM,
        (4, "nf4"): nncf.CompressWeightsMode.NF4,
        (3, "int"): nncf.CompressWeightsMode.INT3_SYM,
        (2, "int"): nncf.CompressWeightsMode.INT2_SYM,
    }
    others = [op for name, op in weight_constants(model).items() if name not in names]
    with redirect_stdout(StringIO()):  # Its progress bars.
        return nncf.compress_weights(
            model,
            mode=modes[stored.bits, stored.number_format],
            group_size=stored.group,
            ratio=1.0,
            all_layers=True,
            ignored_scope=nncf.IgnoredScope(names=_consumers(others), validate=False),
            dataset=nncf.Dataset(_named(calibration)),
            **{rounding: True},
        )


def _named(calibration: Sequence[Batch]) -> list[dict[str, Any]]:
    return [dict(zip(INPUTS, batch, strict=True)) for batch in calibration]


def quantize_activations(model: Any, names: set[str], calibration: Sequence[Batch]) -> Any:
    """Products of the named matrices in 8-bit integers, ranges of activations by `calibration`."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    others = [op for name, op in weight_constants(model).items() if name not in names]
    with redirect_stdout(StringIO()):
        return nncf.quantize(
            model,
            nncf.Dataset(_named(calibration)),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(calibration),
            ignored_scope=nncf.IgnoredScope(names=_consumers(others), validate=False),
        )


def build_artifact(
    model_folder: Path,
    max_length: int,
    folder: Path,
    *,
    bits: Bits,
    number_format: str = "int",
    embedding_bits: int | None = None,
    clusters: int | None = None,
    embedding_clusters: int | None = None,
    sensitive: Collection[str] = (),
    activation_bits: int | None = None,
    rounding: str = "nearest",
    calibration: Sequence[Batch] = (),
) -> None:
    """Write the OpenVINO artifact of a saved classifier into `folder`."""
    import openvino as ov

    model = load_classifier(model_folder)
    plan = plan_storage(
        model,
        bits=bits,
        number_format=number_format,
        embedding_bits=embedding_bits,
        clusters=clusters,
        embedding_clusters=embedding_clusters,
        sensitive=sensitive,
    )
    converted = convert(model)
    modules = {f"{name}.weight": module for name, module in model.named_modules()}
    linear = {
        name: module
        for name, module in modules.items()
        if isinstance(module, nn.Linear) and name not in sensitive
    }
    if activation_bits is not None or rounding != "nearest":
        if activation_bits is not None:
            converted = quantize_activations(converted, set(linear), calibration)
        else:  # NNCF takes one group size for all of them.
            group = group_size(math.gcd(*(module.in_features for module in linear.values())))
            stored = Format(bits, number_format, group)
            converted = store_by_activations(converted, stored, set(linear), rounding, calibration)
        plan = {name: stored for name, stored in plan.items() if name not in linear}
    if bits < 16 or clusters is not None:  # 16 bits for the whole model are `save_model`'s work.
        store(converted, plan)
    name_layers(converted)
    ov.save_model(converted, folder / MODEL_FILES[0], compress_to_fp16=bits == 16 and not clusters)
    clear_padding(folder)
    pack(
        model,
        model_folder,
        max_length,
        folder,
        runtime="openvino",
        bits=bits,
        precision="f32" if bits == 32 and not clusters else None,
        inputs=INPUTS,
        files=MODEL_FILES,
    )
