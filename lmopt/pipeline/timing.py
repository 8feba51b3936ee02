"""Time the artifact of a trial in turn with the teacher's two artifacts."""

from collections.abc import Sequence
from pathlib import Path

from lmopt.measurement.measure import Latency, Timed, time_in_turn
from lmopt.pipeline.prepare import Prepared
from lmopt.pipeline.shared_stages import tokens_stage
from lmopt.progress import Progress
from lmopt.stages.context import Walk


def time_artifact(
    prepared: Prepared, artifact: Path, *, cache: Path, progress: Progress | None = None
) -> tuple[Latency, bool]:
    """Time an artifact in turn with the teacher's two.

    Returns:
        The samples, and whether the timing was noisy.
    """
    (latency,), noisy = time_artifacts(prepared, [artifact], cache=cache, progress=progress)
    return latency, noisy


def time_artifacts(
    prepared: Prepared,
    artifacts: Sequence[Path],
    *,
    cache: Path,
    progress: Progress | None = None,
) -> tuple[list[Latency], bool]:
    """Time artifacts and the teacher's two, all in turn in one process.

    Returns:
        The samples of each artifact, and whether the timing was noisy.
    """
    walk = Walk(cache, prepared.runtime.threads, progress)
    teacher = prepared.tokens.path / "tokens.npz"
    timed = {
        "baseline": Timed(prepared.baseline, teacher),
        "baseline16": Timed(prepared.baseline16, teacher),
    }
    for number, artifact in enumerate(artifacts):
        tokens = tokens_stage(walk, prepared.data, artifact, prepared.task)
        timed[f"trial{number}"] = Timed(artifact, tokens.path / "tokens.npz")
    samples, noisy = time_in_turn(
        timed,
        threads=prepared.runtime.threads,
        rounds_b1=prepared.runtime.rounds_b1,
        rounds_b32=prepared.runtime.rounds_b32,
        pad_to_multiple_of=prepared.runtime.pad_to_multiple_of,
        device=prepared.runtime.device,
        progress=progress,
    )
    return [_latency_of(samples, f"trial{number}") for number in range(len(artifacts))], noisy


def _latency_of(samples: Latency, name: str) -> Latency:
    """Return the samples of one artifact, called "trial", and those of the teacher's two."""
    return {
        batch: {
            "baseline": times["baseline"],
            "baseline16": times["baseline16"],
            "trial": times[name],
        }
        for batch, times in samples.items()
    }
