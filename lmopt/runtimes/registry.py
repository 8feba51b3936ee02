"""The runtimes that artifacts are built for, in the order in which users are told of them.

A runtime is a folder beside this file and a line here. Nothing heavy is imported.
"""

from importlib.metadata import version

from lmopt.errors import UserError
from lmopt.methods.recipe import Recipe
from lmopt.runtimes.base import Runtime
from lmopt.runtimes.onnxruntime.runtime import OnnxRuntime
from lmopt.runtimes.openvino.runtime import OpenVino
from lmopt.runtimes.pytorch.runtime import PyTorch

RUNTIMES: tuple[Runtime, ...] = (OpenVino(), OnnxRuntime(), PyTorch())
NAMES = tuple(runtime.name for runtime in RUNTIMES)
FORMATS = tuple(runtime.export_format for runtime in RUNTIMES)
# Of all runtimes, each once.
PACKAGES = tuple(dict.fromkeys(name for runtime in RUNTIMES for name in runtime.packages))


def runtime_named(name: str) -> Runtime:
    """The runtime of this name.

    Raises:
        ValueError: There is none.
    """
    for runtime in RUNTIMES:
        if runtime.name == name:
            return runtime
    raise UserError(f"no runtime {name!r}; known: {', '.join(NAMES)}")


def runtime_of_format(form: str) -> Runtime:
    """The runtime whose artifacts are in the export format `form`.

    Raises:
        ValueError: There is none.
    """
    for runtime in RUNTIMES:
        if runtime.export_format == form:
            return runtime
    raise UserError(f"no export format {form!r}; known: {', '.join(FORMATS)}")


def refusal(name: str, recipe: Recipe) -> str | None:
    """Why the runtime `name` cannot do what the recipe asks for, with the remedy; None if it can.

    One line that begins with the field.
    """
    reason = runtime_named(name).refusal(recipe)
    if reason is None:
        return None
    able = " or ".join(runtime.name for runtime in RUNTIMES if runtime.refusal(recipe) is None)
    remedy = f"change {reason.split()[0]}" + (f" or take runtime.name {able}" if able else "")
    return f"{reason}: {remedy}"


def runtime_versions(name: str) -> dict[str, str]:
    """Version of each package that a runtime's artifacts and logits depend on."""
    return {package: version(package) for package in runtime_named(name).packages}


def processor_of(name: str, device: str) -> str:
    """Name of what runs a runtime's artifacts: this machine's processor, or its GPU.

    Raises:
        ValueError: There is no such device.
    """
    return runtime_named(name).processor(device)
