"""Slurm's commands as scripts of a folder: they answer what a test says and note their calls."""

from pathlib import Path

# sbatch counts the jobs in the folder of the commands and refuses from a given one on.
SBATCH = """
number=$(($(cat "$dir/submitted" 2>/dev/null || echo 99) + 1))
if [ -e "$dir/full" ] && [ $number -ge $(cat "$dir/full") ]; then
  echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2
  echo 'sbatch: error: Batch job submission failed: Job violates limits' >&2
  exit 1
fi
echo $number > "$dir/submitted"
env > "$dir/environment"
echo "Submitted batch job $number"
"""
SCONTROL = "echo 'MaxArraySize            = 4'\necho 'MaxJobCount             = 10000'"


class FakeSlurm:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("srun", "scancel", "squeue", "sacct"):
            self.answers(name, "")
        self.answers("sbatch", SBATCH)
        self.answers("scontrol", SCONTROL)

    def answers(self, name: str, script: str) -> None:
        path = self.folder / name
        path.write_text(f'#!/bin/bash\ndir="$(dirname "$0")"\necho "$@" >> "$dir/{name}.calls"\n')
        with path.open("a") as file:
            file.write(script)
        path.chmod(0o755)

    def calls(self, name: str) -> list[str]:
        path = self.folder / f"{name}.calls"
        return path.read_text().splitlines() if path.exists() else []
