"""Python imports this at its start where tests/cluster/small_sweep.py has put it on the path.

Training goes slowly while a file lies there, so that faults meet it on a machine of any speed.
"""

import importlib.machinery
import importlib.util
import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

SLOW_STEP_S = 0.2
TRAINING = "lmopt.training.trainer"


class SlowTraining:
    """Finds one module as Python would, and slows it down once it is loaded."""

    def find_spec(self, name: str, *_: Any) -> importlib.machinery.ModuleSpec | None:
        if name != TRAINING:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None
        load = spec.loader.exec_module

        def load_and_slow(module: ModuleType) -> None:
            load(module)
            slow(module)

        spec.loader.exec_module = load_and_slow  # type: ignore[method-assign]
        return spec


def slow(training: ModuleType) -> None:
    """Make each step of a student's training last, while the file lies there."""
    hold, callback = Path(os.environ["LMOPT_TEST_HOLD"]), training.StepCallback
    end_step = callback.on_step_end

    def end_slowly(self: Any, *arguments: Any, **named: Any) -> Any:
        if self.stage != "teacher" and hold.exists():
            time.sleep(SLOW_STEP_S)
        return end_step(self, *arguments, **named)

    callback.on_step_end = end_slowly


if "LMOPT_TEST_HOLD" in os.environ:
    sys.meta_path.insert(0, SlowTraining())
