"""General distillation: a student learns its teacher's hidden states on any text, before the task.

Source: Jiao et al. (2020), TinyBERT, section 3.2.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmopt.config.base import Config
from lmopt.methods.base import Context, Method, Names, Sentence, Texts, Work, setting
from lmopt.methods.training import epochs_in_words, examples_of, training_settings
from lmopt.stages.cache import Stage, run_stage

if TYPE_CHECKING:
    from lmopt.data.batches import States
    from lmopt.data.tokens import Tokens
    from lmopt.methods.recipe import Recipe

VERSION = 2
STATES_VERSION = 1


class Fields(Config):
    """Recipe fields of general distillation."""

    pretrain_epochs: float = setting(
        0, ge=0, description="Before distillation: hidden states alone, of unlabelled text too."
    )
    pretrain_learning_rate: float = setting(1e-3, gt=0)
    pretrain_examples: int | None = setting(
        None, ge=0, description="At most so many extra texts beside the training split; None: all."
    )


def _idle(recipe: "Recipe") -> set[str]:
    if recipe.pretrain_epochs == 0:
        return {"pretrain_learning_rate", "pretrain_examples"}
    return {"pretrain_learning_rate"} if recipe.layers == 0 else set()


def _apply(context: Context, recipe: "Recipe", model: Stage, texts: Texts) -> Stage:
    """Return the student that has learned the teacher's hidden states, on extra text too."""
    walk, teacher = context.walk, context.teacher
    settings = training_settings(recipe, recipe.pretrain_epochs, walk.device)
    settings = replace(settings, token_dropout=0)
    if recipe.layers != 0:  # Static embeddings have one large rate for all their parameters.
        settings = replace(settings, learning_rate=recipe.pretrain_learning_rate)
    parts = [texts] if texts.extra is None else [texts, texts.extra]
    parents = [model.key, teacher.key, *(part.tokens.key for part in parts)]

    def build(folder: Path, scratch: Path) -> None:
        import numpy as np

        from lmopt.compression.general_distillation import pretrain
        from lmopt.data.batches import join, select, subset

        examples, *more = (examples_of(part, False) for part in parts)
        chosen = subset(len(examples.labels), recipe.train_examples, recipe.seed)
        for extra in more:
            drawn = subset(len(extra.labels), recipe.pretrain_examples, recipe.seed)
            chosen = np.append(chosen, drawn + len(examples.labels))
            examples = join(examples, extra)
        states = _hidden_states(context, model, examples.tokens, parents[1:])
        pretrain(
            model.path,
            select(examples._replace(states=states), chosen),
            settings,
            teacher=teacher.path,
            folder=folder,
            scratch=scratch,
            progress=walk.progress,
        )

    parameters = vars(settings) | {"train_examples": recipe.train_examples}
    if texts.extra is not None:
        parameters["pretrain_examples"] = recipe.pretrain_examples
    del parameters["device"]
    return walk.stage("pretrain", build, VERSION, parameters, parents)


def _hidden_states(
    context: Context, model: Stage, tokens: "Tokens", parents: list[str]
) -> "States | None":
    """Return the teacher's hidden states of these tokens, or None where they are too many to keep.

    They are made once for all students, inside the stage that asks for them: a student that was
    loaded from the cache never makes them.
    """
    import numpy as np

    from lmopt.compression.general_distillation import save_states, states_to_learn
    from lmopt.data.batches import States

    walk, teacher = context.walk, context.teacher
    layers = states_to_learn(model.path, teacher.path, int(tokens.offsets[-1]))
    if layers is None:
        return None

    def build(folder: Path, _: Path) -> None:
        save_states(
            model.path,
            teacher.path,
            tokens,
            layers,
            folder / "states.npy",
            device=walk.device,
            progress=walk.progress,
        )

    stage = run_stage(
        walk.cache,
        "hidden_states",
        build,
        version=STATES_VERSION,
        parameters={"layers": layers},
        parents=parents,
    )
    return States(np.load(stage.path / "states.npy", mmap_mode="r"), tokens.offsets[:-1])


def _sentences(recipe: "Recipe", names: Names) -> list[Sentence]:
    if not recipe.pretrain_epochs:
        return []
    most = recipe.pretrain_examples
    count = "the task's extra" if most is None else f"at most {most:,} extra"
    extra = f" and of {count} texts" if names.extra_texts and most != 0 else ""
    time = epochs_in_words(recipe.pretrain_epochs)
    text = f"Trained for {time} on the teacher's hidden states of training texts{extra}."
    return [Sentence(text, frozenset({"pretrain_epochs", "pretrain_examples"}))]


def _operations(recipe: Mapping[str, Any], work: Work) -> float | None:
    """Return the operations of one student, with one forward pass of its teacher."""
    own, teacher, texts, extra, length = work
    if own is None or teacher is None or texts is None or extra is None:
        return None
    return float((6 * own * recipe["pretrain_epochs"] + 2 * teacher) * (texts + extra) * length)


METHOD = Method(
    name="general_distillation",
    title="distillation",
    fields=Fields,
    switches=("pretrain_epochs",),
    apply=_apply,
    phase="pretrain",
    idle=_idle,
    epochs="pretrain_epochs",
    leaves_shape=frozenset({"pretrain_epochs"}),
    sentences=_sentences,
    operations=_operations,
    shared=True,
)
