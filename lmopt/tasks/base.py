"""What a task is: how its data is read, what a model is trained on, and how an answer is scored.

A task is one module with a class that has the members of `Task`, and one line in
`lmopt.tasks.registry`. The command line reads the registry, so such a module imports torch,
transformers and scikit-learn inside functions only.

A model is scored in two steps. `statistics` reduces the outputs on each example to a few numbers.
A `Metric` is a smooth function of the sums of these numbers over the examples. Its standard error
follows from them by the delta method (`analysis.statistics.uncertainty.metric_with_error`),
clustered by document, and so does the error of a difference between two models in pairs. One
example has one row of statistics and one group. A value that belongs to several examples is put on
one of them, with a one beside it that counts it; the others have zeros.

How tasks that are not here yet fit, each with what it needs beyond its own file:

- **Text pairs**: as classification. `build_data` keeps two texts in an example and `encode` gives
  both to the tokenizer. A family that tells them apart by segment ids needs a third model input
  beside those of `lmopt.runtimes.tracing`.
- **Reranking** (nDCG@10, MRR): an example is a query with one document, its group is the query. The
  head has one output. `statistics` ranks the documents of each query and puts (nDCG, reciprocal
  rank, 1) on the query's first example; a metric is a ratio of two sums. The soft loss is the KL
  divergence of the softmax over the documents of a query in the batch.
- **Several labels** (micro-F1, macro-F1): the head has one output per label; the loss is the binary
  cross-entropy. The statistics are true positives, predicted and gold of each label. Micro-F1 adds
  them over the labels first: 2 tp / (predicted + gold).
- **Regression** (Pearson, Spearman, RMSE): the head has one output. Pearson needs the five moments
  (x, y, x², y², xy), of values from which the mean of the truth was taken, so that no digits are
  lost. RMSE is the root of the mean of the squared error. Spearman is Pearson of relative
  mid-ranks (x², y², xy) minus a quarter each; to x² an example adds what it does to the ranks of
  the others, centred. `tests/analysis/statistics/test_metrics_of_sums.py` has it in ten lines.
- **Token tags** (entity F1): outputs and labels are (n, tokens, tags) and (n, tokens), padded; the
  mask of the losses holds the first token of each word. The statistics are the true positives,
  predicted and gold entities of a sequence. The evaluation has to keep outputs of each token.
- **Embeddings** (recall@1): the output is a vector, which `outputs` names. `statistics` compares
  all vectors of a split: 1 if the nearest is the right one. The soft loss is the distance to the
  teacher's vector; the answer of `usage.py` is the vector.
- **Language** (bits per byte): what `statistics` gets is what a language model's evaluation keeps,
  the nats of each document, and the truth knows its bytes: bits per byte is
  nats / (bytes x log 2), and less is better. The loss is the cross-entropy of the next token; the
  mask leaves padding out. It needs a decoder's session, which is a workload and not a task.

The columns of a metric that is not there yet want a label, a unit and a direction in
`analysis.rows.metrics.METRICS`, which a test holds equal to those of the registry.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from lmopt.config.models import TeacherConfig
    from lmopt.config.task import TaskConfig
    from lmopt.data.dataset import Data, Split
    from lmopt.data.tokens import Tokens

Outputs = npt.NDArray[np.float32]
"""(n, ...) what a model gives for n examples; (n, classes) logits for a classifier"""
Statistics = npt.NDArray[Any]
"""(n, k) numbers of each example, whose sums are all that a metric depends on"""


@dataclass(frozen=True)
class Metric:
    """A score of a task.

    `name` is a part of column names (`score_<name>_test`), `label` is for people. `value` takes the
    sums (k,) of the statistics and the number of examples. It depends on their ratios alone and
    takes complex sums: see `analysis.statistics.uncertainty.Metric`.
    """

    name: str
    label: str
    unit: Literal["share", "nats", "bits", "bytes", ""]
    direction: Literal["maximize", "minimize"]
    value: Callable[[npt.NDArray[Any], float], Any]


@dataclass(frozen=True)
class Baseline:
    """The cheapest model of a task: its outputs on "validation" and "test", bytes, seconds.

    `outputs` are what `Task.statistics` takes; `size_bytes` are of the saved model.
    """

    outputs: dict[str, Outputs]
    size_bytes: int
    seconds: float


class AnswerCode(NamedTuple):
    """Lines of `usage.py` that print the answer to a text and a number that goes with it.

    They find the outputs of one text in `logits`, an array or a tensor, and the names of the
    classes in `labels`. Both print what `Task.answer` returns, with a space between.
    """

    numpy: str
    torch: str


class NotFiniteError(RuntimeError):
    """A model's outputs are NaN or infinite: it has no score."""


def check_finite(outputs: Mapping[str, Outputs]) -> None:
    """Raise NotFiniteError if a text of any split has an output that is NaN or infinite.

    `argmax` would take such a text for one of the first class, and a mean would be NaN.
    """
    said = []
    for split, values in outputs.items():
        finite = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
        wrong = len(values) - int(finite.sum())
        if wrong:
            said.append(f"{wrong} of {len(values)} texts of the {split} split")
    if said:
        raise NotFiniteError(
            f"outputs are NaN or infinite for {' and '.join(said)}: the weights or the number "
            "format overflow (lower the learning rate, or store more bits)"
        )


class Task(Protocol):
    """What lmopt must know of a task. An implementation has no state."""

    kind: str
    """Value of `task.kind` in a definition"""
    outputs: tuple[str, ...]
    """Attributes of a model's result that its artifact gives, by these names"""
    metrics: tuple[Metric, ...]
    """The first is the one that a search maximizes (or minimizes) by default"""
    answer_code: AnswerCode
    data_version: int
    """Version of `build_data`: part of the key of the data"""

    def build_data(self, task: "TaskConfig", folder: Path) -> None:
        """Read, check and split the data into `folder`; ValueError for data that is of no use."""

    def load_data(self, folder: Path) -> "Data":
        """Load what `build_data` wrote."""

    def encode(self, tokenizer: Any, texts: Sequence[str], max_length: int) -> "Tokens":
        """Token ids of the texts, not padded, truncated to `max_length`."""

    def is_finetuned(self, teacher: "TeacherConfig", label_names: list[str]) -> bool:
        """Whether the checkpoint has a head that fits the task already."""

    def load_finetuned(self, model: str, label_names: list[str]) -> "PreTrainedModel":
        """Load a checkpoint with its head, the outputs in the order of the task's classes."""

    def load_untrained(self, model: str, label_names: list[str]) -> "PreTrainedModel":
        """Load a checkpoint with a new head, drawn by torch's seed."""

    def loss(
        self, outputs: "torch.Tensor", targets: "torch.Tensor", mask: "torch.Tensor | None" = None
    ) -> "torch.Tensor":
        """Hard loss against the truth, a mean; `mask` is true at the positions that count."""

    def soft_loss(
        self,
        outputs: "torch.Tensor",
        teacher_outputs: "torch.Tensor",
        temperature: float,
        mask: "torch.Tensor | None" = None,
    ) -> "torch.Tensor":
        """Distillation loss against the teacher's outputs, a mean, on the same scale at all T."""

    def statistics(self, outputs: Outputs, truth: "Split") -> Statistics:
        """Reduce the outputs on the examples of a split to the numbers (n, k) of the metrics."""

    def closeness(self, outputs: Outputs, teacher_outputs: Outputs) -> dict[str, float]:
        """Return how far the outputs are the teacher's, by the names of the rows' columns."""

    def baseline(self, data: "Data") -> Baseline:
        """Fit the cheapest model, which a compressed language model has to beat."""

    def answer(self, outputs: Outputs, label_names: Sequence[str]) -> tuple[str, float]:
        """Return what one text's outputs say, and how sure they are."""
