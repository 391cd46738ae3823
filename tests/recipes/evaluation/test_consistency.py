"""scripts/consistency.py: its numbers against loops, the average of passes as an ensemble, and what is refused."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch
import yaml
from recipes.evaluation import consistency, curves
from support import command_line
from support.helpers import build_model, build_task, make_sample
from support.in_process import call, refused
from support.learned_run import train_run

import rdrop_fairseq  # noqa: F401  (lets the checkpoints load)

PAD, WORDS = 1, 5


class Model(torch.nn.Module):
    """A model whose logits at a token are numbers of its own, with dropout; as much of fairseq's models as is used."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(WORDS, WORDS)
        self.dropout = torch.nn.Dropout(0.4)

    def forward(self, tokens):
        return self.dropout(self.table(tokens)), {}

    def get_targets(self, sample, net_output):
        return sample["target"]

    def get_normalized_probs(self, net_output, log_probs, sample=None):
        return net_output[0].log_softmax(-1)


@pytest.fixture
def model():
    torch.manual_seed(2)
    return Model().eval()


SAMPLES = [
    {"net_input": {"tokens": torch.tensor([[0, 2, 4], [3, 1, 1]])}, "target": torch.tensor([[2, 4, 3], [0, PAD, PAD]])},
    {"net_input": {"tokens": torch.tensor([[2, 0]])}, "target": torch.tensor([[PAD, 2]])},
]


def by_loops(model, passes):
    """Return the numbers of `measure`, token by token and word by word, with the draws in the same order."""
    sums = dict.fromkeys(("divergence", "one pass", "average", "without dropout", "average to without"), 0.0)
    count = 0
    for sample in SAMPLES:
        tokens, target = sample["net_input"]["tokens"], sample["target"]
        free = model.table(tokens).softmax(-1).tolist()
        drawn = [model.dropout.train()(model.table(tokens)).softmax(-1).tolist() for _ in range(passes)]
        for row, column in (target != PAD).nonzero().tolist():
            word, count = int(target[row, column]), count + 1
            p = free[row][column]
            q = [each[row][column] for each in drawn]
            mean = [sum(each[v] for each in q) / passes for v in range(WORDS)]
            pairs = [(q[i], q[i + 1]) for i in range(0, passes - 1, 2)]
            for a, b in pairs:
                both = sum((a[v] - b[v]) * (math.log2(a[v]) - math.log2(b[v])) for v in range(WORDS))
                sums["divergence"] += both / 2 / len(pairs)
            sums["one pass"] -= sum(math.log2(each[word]) for each in q) / passes
            sums["average"] -= math.log2(mean[word])
            sums["without dropout"] -= math.log2(p[word])
            sums["average to without"] += sum(mean[v] * math.log2(mean[v] / p[v]) for v in range(WORDS))
    found = {key: total / count for key, total in sums.items()}
    return found | {"gap": found["without dropout"] - found["average"]}


@pytest.mark.parametrize("passes", [2, 3, 4])
def test_the_numbers_equal_loops(model, passes):
    torch.manual_seed(7)
    expected = by_loops(model, passes)
    torch.manual_seed(7)
    found = consistency.measure(model, SAMPLES, PAD, passes)
    assert found == pytest.approx(expected, rel=1e-5)
    assert min(found["divergence"], found["average to without"], abs(found["gap"])) > 0.001
    assert found["average"] < found["one pass"]  # by Jensen's inequality


def test_without_dropout_there_is_no_divergence_and_no_gap(model):
    model.dropout.p = 0
    found = consistency.measure(model, SAMPLES, PAD, 3)
    assert found["one pass"] == pytest.approx(found["without dropout"])
    assert [found[key] for key in ("divergence", "gap", "average to without")] == pytest.approx([0] * 3, abs=1e-6)


def test_a_language_model_with_adaptive_softmax():
    task = build_task("rdrop_language_modeling")
    model = build_model(task, "transformer_lm_big", dropout=0.1, adaptive_softmax_cutoff="6")
    sample = make_sample(task)
    found = consistency.measure(model, [sample], PAD, 2)
    loss = -model.eval().get_normalized_probs(model(**sample["net_input"]), log_probs=True)
    target = sample["target"]
    nll = loss[target != PAD].gather(-1, target[target != PAD].unsqueeze(-1)).mean().item() / math.log(2)
    assert found["without dropout"] == pytest.approx(nll, rel=1e-5) and found["divergence"] > 0


def test_a_text_without_targets_is_refused(model):
    sample = {"net_input": {"tokens": torch.tensor([[0]])}, "target": torch.tensor([[PAD]])}
    with pytest.raises(ValueError, match="no target"):
        consistency.measure(model, [sample], PAD, 2)


def set_dropout(run: Path, rate: float) -> None:
    """Let the model of a run's best checkpoint have dropout."""
    path = run / "checkpoints/checkpoint_best.pt"
    state = torch.load(path, weights_only=True)
    state["cfg"]["model"]["dropout"] = rate
    torch.save(state, path)


def test_of_a_run_without_dropout_all_gaps_are_0(learned, tmp_path):
    text = printed_but_progress(learned, "--passes", 2, "--out", tmp_path)
    (run,) = json.loads((tmp_path / "consistency.json").read_text())
    numbers = run["numbers"]
    assert numbers["bleu average"] == numbers["bleu without dropout"] > 10 and numbers["bleu gap"] == 0
    assert [numbers[key] for key in ("divergence", "gap", "average to without")] == pytest.approx([0] * 3, abs=1e-5)
    assert (tmp_path / "table.md").read_text() in text
    assert (tmp_path / "consistency.png").read_bytes().startswith(b"\x89PNG")


def printed_but_progress(*options: object) -> str:
    """Call the command, check that it succeeds and says only what it decodes on stderr, and return what it printed."""
    result = call(consistency.main, *options)
    assert result.status == 0, result
    assert all(line.startswith("Decoding the validation set of ") for line in result.stderr.splitlines()), result.stderr
    return result.stdout


def test_the_average_decodes_with_dropout_and_a_fixed_seed(changed, tmp_path):
    set_dropout(changed, 0.6)
    found = []
    for _ in range(2):
        printed_but_progress(changed, "--passes", 2, "--beam", 1, "--out", tmp_path)
        found.append(json.loads((tmp_path / "consistency.json").read_text())[0]["numbers"])
    assert found[0] == found[1]
    assert found[0]["bleu without dropout"] > 10 and found[0]["bleu average"] < found[0]["bleu without dropout"]
    assert found[0]["divergence"] > 0.1 and found[0]["average"] < found[0]["one pass"]
    assert not list(changed.glob(".*.part"))


LM = """
common: {log_format: json, log_interval: 1, cpu: true}
checkpoint: {save_interval_updates: 2, no_epoch_checkpoints: true}
task: {_name: rdrop_language_modeling, tokens_per_sample: 8, add_bos_token: false, max_target_positions: null}
dataset: {batch_size: 8, required_batch_size_multiple: 1, num_workers: 0}
criterion: {_name: cross_entropy}
optimizer: {_name: adam}
lr_scheduler: {_name: fixed}
optimization: {lr: [0.02], max_update: 2}
model: {_name: transformer_lm, dropout: 0.3, decoder_layers: 1, decoder_embed_dim: 16, decoder_input_dim: 16,
  decoder_output_dim: 16, decoder_ffn_embed_dim: 16, decoder_attention_heads: 2}
"""


def test_a_language_model_has_no_bleu(tmp_path, monkeypatch):
    data = command_line.make_text(tmp_path)
    config = yaml.safe_load(LM)
    config["task"]["data"] = str(data)
    run = train_run(tmp_path / "lm/seed1", config)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = call(consistency.main, run, "--passes", 2)
    assert (result.status, result.stderr) == (0, "matplotlib is not installed: no consistency.png\n")
    folder = tmp_path / "consistency"
    (found,) = json.loads((folder / "consistency.json").read_text())
    assert (found["name"], found["seed"]) == ("lm", "1") and "bleu gap" not in found["numbers"]
    logged = curves.read_log(run / "train.log")["valid"][2]
    assert found["numbers"]["without dropout"] == pytest.approx(logged["loss"], abs=0.001)
    assert found["numbers"]["divergence"] > 0.001


def test_the_table_has_a_mean_for_the_seeds_of_a_config():
    runs = [
        {"name": name, "seed": seed, "numbers": {"divergence": value, "gap": 0.5}}
        for name, seed, value in (("baseline", "1", 0.25), ("baseline", "2", 0.75), ("rdrop", "1", 0.125))
    ]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in consistency.table(runs).splitlines()]
    assert rows[0] == ["run", "seed", "divergence of two passes", "NLL gap"]
    assert rows[4] == ["**baseline**", "mean ± std", "0.500 ± 0.354", "0.500 ± 0.000"]
    assert rows[5] == ["rdrop", "1", "0.125", "0.500"]


def test_bad_input_is_refused_in_one_line(learned, tmp_path):
    assert "must be at least 2, not '1'" in refused(consistency.main, learned, "--passes", 1)
    assert f"there is no {tmp_path}/checkpoints/checkpoint_best.pt" in refused(consistency.main, tmp_path)
    assert "give each run once" in refused(consistency.main, learned, learned)
    for task, words in (("sentence_prediction", "neither translation nor a language model"), ("language_modeling", "")):
        run = tmp_path / task
        (run / "checkpoints").mkdir(parents=True)
        (run / "checkpoints/checkpoint_best.pt").touch()
        (run / "train.yaml").write_text(f"task: {{_name: {task}}}\n")
        if words:
            assert words in refused(consistency.main, run)
        else:
            assert refused(consistency.main, learned, run).startswith("the runs are of several kinds: ")
