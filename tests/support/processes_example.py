"""Train the example of several processes in two and in one, with dropout that is the same in both: OUT gets the ends.

Usage: python -m support.processes_example OUT
"""

import sys
from pathlib import Path

import torch
from accelerate import debug_launcher
from accelerate.state import AcceleratorState, GradientState, PartialState
from support.examples import load_example
from support.fixed_dropout import fix_dropout


def train(out: str) -> None:
    """Train with R-Drop for an epoch; write the parameters, and what the table shows, of the first process."""
    torch.set_num_threads(1)
    model, shown = example.train(alpha=1.0, epochs=1)
    state = PartialState()
    if state.is_main_process:
        torch.save((model.state_dict(), shown, state.num_processes), out)


example = load_example("several_processes")
build_model = example.build_model
example.build_model = lambda: fix_dropout(build_model())
folder = Path(sys.argv[1])
debug_launcher(train, (str(folder / "two.pt"),), num_processes=2)
for state in (AcceleratorState, GradientState, PartialState):
    state._reset_state()
train(str(folder / "one.pt"))
