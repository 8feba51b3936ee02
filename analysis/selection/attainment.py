"""Attainment of a sweep's seeds: the fronts that every seed, half of them, or one seed reached."""

from collections.abc import Mapping

import pandas as pd

from analysis.selection.objectives import candidates, objective_values, quality_objective
from analysis.statistics.attainment import attainment_surface

FEWEST_SEEDS = 2
_QUARTILES_FROM = 8  # seeds; with fewer the extremes say more than quartiles made of guesses


def seed_sets(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the models of each seed of a run's recipes; empty if the run has one seed only.

    A model that no seed can change (the teacher, a quantized teacher) belongs to every set.
    """
    models = candidates(rows)
    seeded = models["kind"].eq("search")
    seeds = sorted(models.loc[seeded, "seed"].dropna().unique()) if "seed" in models else []
    if len(seeds) < FEWEST_SEEDS:
        return {}
    return {f"seed {seed}": models[~seeded | models["seed"].eq(seed)] for seed in seeds}


def attainment(
    sets: Mapping[str, pd.DataFrame], objectives: Mapping[str, str], cost: str
) -> pd.DataFrame:
    """Return where quality against `cost` is attained by how many sets, on the objectives' split.

    Returns:
        The corners of one staircase per level: `level` (least share of the sets, in (0, 1]),
        `name`, and the two objectives' columns, in their own units.

    Raises:
        ValueError: Fewer than two sets.
    """
    if len(sets) < FEWEST_SEEDS:
        raise ValueError(f"attainment needs at least {FEWEST_SEEDS} sets, got {len(sets)}")
    pair = {name: objectives[name] for name in (cost, quality_objective(objectives))}
    levels = _levels(len(sets))
    values = [objective_values(models, pair) for models in sets.values()]
    surface = attainment_surface(values, list(pair.values()), list(levels))
    table = pd.DataFrame(surface[:, :2], columns=list(pair))
    table.insert(0, "level", surface[:, 2])
    names = {round(100 * share): name for share, name in levels.items()}
    table.insert(1, "name", [names[round(100 * level)] for level in table["level"]])
    return table.sort_values(["level", cost], ignore_index=True)


def _levels(sets: int) -> dict[float, str]:
    if sets >= _QUARTILES_FROM:
        return {0.25: "a quarter of the seeds", 0.5: "half", 0.75: "three quarters"}
    # The smallest share that moocore takes is of one set.
    return {1 / sets: "the luckiest seed", 0.5: "half of the seeds", 1.0: "every seed"}
