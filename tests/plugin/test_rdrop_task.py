"""What every R-Drop task shares: here, what becomes of a batch that does not fit into memory."""

import pytest
from fairseq.tasks.fairseq_task import FairseqTask
from support.helpers import build_task


@pytest.mark.parametrize("name", ["rdrop_translation", "rdrop_language_modeling"])
@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("message", ["CUDA out of memory. Tried to allocate 2 GiB", "another error"])
def test_out_of_memory_ends_the_training_if_the_config_says_so(name, ends, message, monkeypatch):
    """fairseq's trainer skips the batch where it finds "out of memory" in the message of a RuntimeError."""

    def fails(*args, **kwargs):
        raise RuntimeError(message)

    class Criterion:
        num_updates = 0

    monkeypatch.setattr(FairseqTask, "train_step", fails)
    task = build_task(name, **({"rdrop_end_when_out_of_memory": True} if ends else {}))
    changed = ends and "out of memory" in message
    with pytest.raises(RuntimeError, match="^a batch does not fit into memory$" if changed else f"^{message}$"):
        task.train_step({}, None, Criterion(), None, 3)
