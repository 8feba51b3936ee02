"""What workers say of themselves while they work."""

import json

from lmopt.methods.recipe import Recipe
from sweeps.cli.render_status import trial_line
from sweeps.run.directory import Run
from sweeps.run.progress import ProgressFile, read_progress


def test_a_worker_that_is_writing_is_one_worker(run: Run) -> None:
    progress = ProgressFile(run, "7_0", "worker")
    progress.start(3)
    progress("distill", 0.5)
    (said,) = read_progress(run)
    assert (said.job_id, said.trial, said.stage, said.fraction) == ("7_0", 3, "distill", 0.5)
    # The file that is about to replace it, as a reader may meet it.
    (run.progress / ".7_0.json.123").write_text((run.progress / "7_0.json").read_text())
    assert read_progress(run) == [said]
    progress.close()
    assert read_progress(run) == []


def test_a_finished_trial_is_said_by_what_was_done_to_it() -> None:
    """Layers first; nothing that is off or had no effect; cut with a sign where it is long."""
    searched = {
        "bits": 2, "clusters": 4, "ffn_keep": 1.0, "layers": 0, "sparsity": 0.0,
        "static_width": 128, "temperature": 2.0, "token_dropout": 0.3,
    }  # fmt: skip
    recipe = Recipe.model_validate({**searched, "epochs": 1}).canonical()
    row = {f"param_{name}": value for name, value in searched.items()}
    row |= {"recipe_json": json.dumps(recipe.model_dump(mode="json"))}
    row |= {"trial": 3, "method": None, "state": "COMPLETE"}
    row |= {"accuracy_validation": 0.875, "size_bytes": 940_000, "speedup_b1": 28.6}
    text = trial_line(row).plain
    assert text.startswith("  3 lay 0 width 128 T 2 tok drop 0.3 clus 4 ")
    assert text.split()[-5:] == ["87.5", "%", "0.94", "MB", "28.6×"]
    whole = {name: value for name, value in row.items() if not name.startswith("param_")}
    whole |= {"recipe_json": json.dumps({"bits": 32}), "param_bits": 32}
    assert trial_line(whole).plain.startswith("  3 bits 32 ")
    long = trial_line({**row, "param_" + "x" * 30: 1}).plain
    assert long.startswith("  3 lay 0 width 128 T 2 tok drop 0.3 clus 4 xxx…  87.5 %")
    assert len(long) == len(text) < 80
