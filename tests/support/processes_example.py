"""The example of several processes, as an entry point of command_line: one process runs it in every way that is tested.

Usage: OUT WORD... first trains in two processes, with dropout that is the same in both, for OUT/two.pt, then runs
torchrun with the words, then trains in this process alone for OUT/one.pt.
"""

import sys
from pathlib import Path

import torch
from accelerate import debug_launcher
from accelerate.state import AcceleratorState, GradientState, PartialState
from support.examples import load_example
from support.fixed_dropout import fix_dropout
from support.forked_training import torchrun_main


def train(out: str) -> None:
    """Train with R-Drop for an epoch; write the parameters, and what the table shows, of the first process."""
    torch.set_num_threads(1)
    example = load_example("several_processes")
    build_model = example.build_model
    example.build_model = lambda: fix_dropout(build_model())
    model, shown = example.train(alpha=1.0, epochs=1)
    state = PartialState()
    if state.is_main_process:
        torch.save((model.state_dict(), shown, state.num_processes), out)


def cli_main() -> None:
    _, out, *words = sys.argv
    debug_launcher(train, (str(Path(out, "two.pt")),), num_processes=2)
    sys.argv = ["torchrun", *words]
    torchrun_main()
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    train(str(Path(out, "one.pt")))
