"""What workers say of themselves while they work."""

from sweeps.progress import ProgressFile, read_progress
from sweeps.run import Run


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
