"""fairseq-train with R-Drop on a made-up corpus: several processes, and several batches an update."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.command_line import (
    DROPOUT,
    FROZEN,
    RDROP,
    TRAIN,
    TRANSFORMER,
    parameters,
    run,
    train_argv,
    two_processes,
)

# Several processes, and several batches an update

# A user-dir of the tests: a transformer whose dropout and cuts depend on its input alone, so that a batch gets the same
# divergence above 0 on whichever process it runs, and in whichever order.
SEEDED_MODEL = """
import rdrop_fairseq
import torch
from fairseq.models import register_model, register_model_architecture
from fairseq.models.transformer import TransformerModel, base_architecture

@register_model("seeded_transformer")
class SeededTransformer(TransformerModel):
    def forward(self, src_tokens, *args, **kwargs):
        torch.manual_seed(int(src_tokens.sum()))
        return super().forward(src_tokens, *args, **kwargs)

register_model_architecture("seeded_transformer", "seeded_transformer")(base_architecture)
"""
SGD = ("--optimizer", "sgd", "--lr", "0.2")  # Adam turns rounding errors of gradients near 0 into steps
CUT = ("--rdrop-pass-weights", "1,0.5", "--rdrop-cutoff", "0.2", "--rdrop-cutoff-replacement", "unk")
SPANS = ("--rdrop-cutoff", "0.2", "--rdrop-cutoff-unit", "span")
SIX_UPDATES = (*SGD, *DROPOUT, "--max-update", "6")


@pytest.fixture(scope="session")
def seeded(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """``train_argv`` of R-Drop for the model above."""
    user_dir = tmp_path_factory.mktemp("user") / "seeded_model"
    user_dir.mkdir()
    (user_dir / "__init__.py").write_text(SEEDED_MODEL)
    model = ("--arch", "seeded_transformer", *TRANSFORMER[2:])
    return functools.partial(train_argv, data, *RDROP, *model, user_dir=user_dir)


def test_update_freq_sums_the_batches(seeded):
    one = run(TRAIN, *seeded(*FROZEN, *DROPOUT, "--max-update", "5")).updates
    two = run(TRAIN, *seeded(*FROZEN, *DROPOUT, "--max-update", "3", "--update-freq", "2")).updates
    assert len(two) == 3
    for update, batches in zip(two, (one[:2], one[2:4], one[4:]), strict=True):
        words = sum(batch["wpb"] for batch in batches)
        assert update["wpb"] == words
        for key in ("loss", "nll_loss", "kl_loss", "rdrop_alpha"):
            mean = sum(batch[key] * batch["wpb"] for batch in batches) / words
            assert update[key] == pytest.approx(mean, abs=0.001), key


@pytest.mark.parametrize(
    ("init", "option"),
    [("tcp", []), ("env", ["--rdrop-every", "2", "--report-accuracy"]), ("tcp", ["--sentence-avg", *CUT])],
    ids=["tcp", "env, every 2nd update", "tcp, sentence-avg, cut by unk"],
)
def test_two_processes_equal_update_freq_2(seeded, tmp_path, init, option):
    # Five batches an epoch, so that the second process gets a dummy batch in updates 3 and 6.
    two = two_processes(init, seeded(*SIX_UPDATES, *option, save_dir=tmp_path / "two"))
    one = run(TRAIN, *seeded(*SIX_UPDATES, *option, "--update-freq", "2", save_dir=tmp_path / "one"))

    assert len(two.updates) == 6
    assert [update["epoch"] for update in two.updates] == [1, 1, 1, 2, 2, 2]
    assert max(two.column("kl_loss")) > 0.01
    alphas = [0, 5] * 3 if "--rdrop-every" in option else [5] * 6
    assert two.column("rdrop_alpha") == alphas
    for update, expected in zip(two.updates, one.updates, strict=True):
        assert update == pytest.approx(expected, abs=0.0015)
    assert two.valid == pytest.approx(one.valid, abs=0.0015)
    models = parameters(tmp_path / "two"), parameters(tmp_path / "one")
    for name, parameter in models[0].items():
        assert torch.allclose(parameter, models[1][name], rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("option", [(), CUT, SPANS], ids=["no cut", "cut by unk", "cut spans"])
def test_resume_on_two_processes(seeded, tmp_path, option):
    flags = (*SIX_UPDATES, "--rdrop-every", "2", *option)
    four = two_processes("tcp", seeded(*flags, "--max-update", "4", save_dir=tmp_path))
    six = two_processes("tcp", seeded(*flags, save_dir=tmp_path))
    assert (len(four.updates), len(six.updates)) == (4, 2)
    one = run(TRAIN, *seeded(*flags, "--update-freq", "2"))
    for update, expected in zip(four.updates + six.updates, one.updates, strict=True):
        assert update == pytest.approx(expected, abs=0.0015)


def test_two_processes_resume_as_one(seeded, tmp_path):
    # An epoch has three updates, so the first run ends in the middle of one.
    four = two_processes("tcp", seeded(*SIX_UPDATES, "--max-update", "4", save_dir=tmp_path))
    six = run(TRAIN, *seeded(*SIX_UPDATES, "--update-freq", "2", save_dir=tmp_path))
    whole = run(TRAIN, *seeded(*SIX_UPDATES, "--update-freq", "2"))
    assert (len(four.updates), len(six.updates)) == (4, 2)
    for update, expected in zip(four.updates + six.updates, whole.updates, strict=True):
        assert update == pytest.approx(expected, abs=0.0015)
