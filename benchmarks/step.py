"""Measure time and memory of a whole training step (forward, backward, optimizer) of R-Drop and of plain cross-entropy.

python benchmarks/step.py [--out DIR] [--quick] [--rounds N]

All see the same sentences twice: fairseq's cross-entropy on the batch doubled, fairseq's own R-Drop criterion (for
translation; it has none for language models), and ours, plain and fused. It prints times, each also as a multiple of
plain cross-entropy in the same round, on a CPU for both ways to allocate memory (measure.py). For translation it prints
the peak memory beyond the model's too (of the big model only on a GPU), and how many tokens would fit into MEMORY, from
a line through two measured sizes.
"""

import functools
from argparse import Namespace
from typing import Any

import torch
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY, FairseqCriterion
from fairseq.data import Dictionary
from fairseq.data.language_pair_dataset import collate
from fairseq.data.monolingual_dataset import collate as collate_blocks
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig
from fairseq.tasks.language_modeling import LanguageModelingConfig
from fairseq.tasks.translation import TranslationConfig
from fairseq.utils import move_to_cuda
from measure import DEVICE, DTYPES, Facts, Step, arguments, measure_memory, measure_times, peak_bytes, say, write
from omegaconf import OmegaConf
from ratios import draw_ratios, times_tables
from recipes.table import markdown_table

from rdrop_fairseq.passes import repeat_batch
from rdrop_fairseq.tasks.rdrop_language_modeling import RDropLanguageModelingTask
from rdrop_fairseq.tasks.rdrop_translation import RDropTranslationTask

WORDS_A_SENTENCE, WORDS_A_BLOCK = 32, 512
PLAIN_CE, OF_FAIRSEQ = "cross-entropy, doubled batch", "R-Drop, fairseq's criterion"
PLAIN, FUSED = "R-Drop, plain", "R-Drop, fused"
NAMES = (PLAIN_CE, OF_FAIRSEQ, PLAIN, FUSED)
TRANSLATION, LM, ADAPTIVE_LM = "translation", "language model", "language model with adaptive softmax"
SHARED = {"share_all_embeddings": True, "dropout": 0.3}
BLOCKS = {"decoder_layers_to_keep": None, "max_target_positions": WORDS_A_BLOCK}
KINDS: dict[str, tuple[str, Facts, Facts]] = {  # the criterion of each, its settings, and those of the model
    TRANSLATION: ("label_smoothed_cross_entropy", {"label_smoothing": 0.1}, SHARED),
    LM: ("cross_entropy", {}, BLOCKS),
    ADAPTIVE_LM: ("adaptive_loss", {"ddp_backend": "legacy_ddp"}, BLOCKS),
}
MEMORY = 8  # gigabytes
IWSLT, BIG = "transformer_iwslt_de_en", "transformer_vaswani_wmt_en_de_big"
GPT, WIKI103 = "transformer_lm_gpt", "transformer_lm_wiki103"
# Architecture, vocabulary, tokens, and what differs from the architecture.
Grid = list[tuple[str, int, int, dict[str, Any]]]
TWO_LAYERS = {"decoder_layers": 2}
NARROW = {"encoder_embed_dim": 32, "decoder_embed_dim": 32, "encoder_layers": 2, **TWO_LAYERS}
CUTOFFS = {"adaptive_softmax_cutoff": "200,600", "adaptive_input_cutoff": "200,600"}
QUICK: Grid = [(IWSLT, 1000, 64, NARROW), (GPT, 1000, 64, {**TWO_LAYERS, "decoder_embed_dim": 96}),
               (WIKI103, 1000, 64, {**TWO_LAYERS, "decoder_embed_dim": 64, **CUTOFFS})]  # fmt: skip
GRID: dict[str, Grid] = {
    "cuda": [(IWSLT, 10_000, 4096, {}), (IWSLT, 32_768, 4096, {}), (BIG, 32_768, 4096, {}), (BIG, 44_000, 4096, {}),
             (GPT, 33_278, 2048, {}), (WIKI103, 267_744, 3072, {})],
    "cpu": [(IWSLT, 10_000, 1024, {}), (IWSLT, 32_768, 1024, {}), (BIG, 32_768, 256, {}),
            (GPT, 33_278, 512, TWO_LAYERS), (WIKI103, 267_744, 512, TWO_LAYERS)],
}  # fmt: skip


def make_criterion(task: Any, registered: str, **settings: Any) -> FairseqCriterion:
    """Return the criterion that fairseq builds for a task, by its registered name."""
    config = OmegaConf.structured(CRITERION_DATACLASS_REGISTRY[registered](sentence_avg=False, **settings))
    config._name = registered
    return task.build_criterion(config)


def criterions(kind: str, task: Any) -> dict[str, FairseqCriterion]:
    """Return the criterions for a kind of model: the parent, ours of the same name in both ways, and fairseq's own."""
    parent, settings, _ = KINDS[kind]
    made = {PLAIN_CE: make_criterion(task, parent, **settings)}
    for name, loss in ((PLAIN, "plain"), (FUSED, "fused")):
        made[name] = make_criterion(task, f"rdrop_{parent}", rdrop_loss=loss, **settings)
    if kind == TRANSLATION:
        made[OF_FAIRSEQ] = make_criterion(task, f"{parent}_with_rdrop", rdrop_alpha=5.0, **settings)
    return made


def batch(kind: str, tokens: int, vocab: int) -> dict[str, Any]:
    """Return sentences of one length with `tokens` words on each side; blocks of running text for a language model."""
    generator = torch.Generator().manual_seed(1)
    length = WORDS_A_SENTENCE if kind == TRANSLATION else min(tokens, WORDS_A_BLOCK)
    words = torch.randint(4, vocab, (2, tokens // length, length), generator=generator)
    words[:, :, -1] = 2  # the end of the sentence
    sources, merge = (words[1], collate) if kind == TRANSLATION else (words[0].roll(1, 1), collate_blocks)
    pairs = [{"id": i, "source": sources[i], "target": target} for i, target in enumerate(words[0])]
    sample: dict[str, Any] = merge(pairs, pad_idx=1, eos_idx=2)
    return move_to_cuda(sample) if DEVICE == "cuda" else sample


def training_steps(setting: Facts) -> dict[str, Step]:
    """Return a step of one model with each criterion, as fairseq's trainer makes it."""
    words, kind = Dictionary(), setting["kind"]
    words.pad_to_multiple_(setting["vocab"])  # which makes it that large
    task: Any = RDropLanguageModelingTask(LanguageModelingConfig(), words)
    if kind == TRANSLATION:
        task = RDropTranslationTask(TranslationConfig(), words, words)
    args = Namespace(**setting["model"])
    ARCH_CONFIG_REGISTRY[setting["arch"]](args)
    torch.manual_seed(1)
    model = ARCH_MODEL_REGISTRY[setting["arch"]].build_model(args, task).to(DEVICE, DTYPES[setting["dtype"]])
    adam = OmegaConf.structured(FairseqAdamConfig(lr=[1e-4], tpu=False, fp16_adam_stats=False))
    optimizer = FairseqAdam(adam, list(model.parameters()))
    sample = batch(kind, setting["tokens"], setting["vocab"])

    def step(name: str, criterion: FairseqCriterion) -> None:
        seen = repeat_batch(sample, 2) if name == PLAIN_CE else {**sample, "net_input": dict(sample["net_input"])}
        optimizer.zero_grad()
        _, sample_size, _ = task.train_step(seen, model, criterion, optimizer, 0)
        optimizer.multiply_grads(1 / sample_size)
        optimizer.clip_grad_norm(0.0)
        optimizer.step()

    return {name: functools.partial(step, name, made) for name, made in criterions(kind, task).items()}


def memory_of(setting: Facts) -> int:
    """Return the peak bytes of a step beyond what the model, its gradients and the optimizer's state take."""
    step = training_steps(setting)[setting["method"]]
    step()  # makes the optimizer's state and the gradients
    return peak_bytes(step)


def memory_table(memory: list[Facts]) -> str:
    """Return a table of the peaks, and of the tokens that fit into MEMORY."""
    rows = [["", "model, vocabulary", "peak MB at tokens", "tokens that fit"]]
    for entry in memory:
        (less, low), (more, high) = entry["points"]
        cells = ["not run", "not run"]
        if low and high and high > low:
            fit = (MEMORY * 1e9 - low) * (more - less) / (high - low) + less
            cells = [f"{low / 1e6:,.0f} at {less:,}, {high / 1e6:,.0f} at {more:,}", f"{fit:,.0f}"]
        rows.append([entry["method"], f"{entry['label']}, {entry['vocab']:,}", *cells])
    return markdown_table(rows)


def label(setting: Facts) -> str:
    """Return the name of a setting."""
    return f"{setting['label']}, {setting['dtype']}, V = {setting['vocab']:,}, 2 x {setting['tokens']:,} tokens"


def draw(facts: Facts) -> Any:
    """Return the figure of a result."""
    times = [{**entry, "label": entry["arch"]} for entry in facts["times"]]
    return draw_ratios([("whole training step", times, PLAIN_CE, label)])


def main() -> None:
    """Measure, and write the tables."""
    args = arguments(__doc__, rounds=3).parse_args()
    times: list[Facts] = []
    memory: list[Facts] = []
    grid = QUICK if args.quick else GRID[DEVICE]
    for number, (arch, vocab, tokens, changes) in enumerate(grid, 1):
        kind = {GPT: LM, WIKI103: ADAPTIVE_LM}.get(arch, TRANSLATION)
        name = ", ".join([f"{arch} but" if changes else arch, *(f"{key} {changes[key]}" for key in changes)])
        dtype = "bfloat16" if DEVICE == "cuda" else "float32"
        setting: Facts = {"kind": kind, "arch": arch, "label": name, "model": {**KINDS[kind][-1], **changes}}
        setting |= {"vocab": vocab, "tokens": tokens, "dtype": dtype}
        say(f"[{number}/{len(grid)}] {label(setting)}")
        times += measure_times(training_steps, setting, args.rounds)
        # The big model's batches that a CPU can time take less memory than its optimizer does for a moment.
        measured = kind == TRANSLATION and (DEVICE == "cuda" or arch == IWSLT) and not args.quick
        for method in (PLAIN_CE, OF_FAIRSEQ, FUSED) if measured else ():
            say(f"  memory of {method}")
            each = [{**setting, "tokens": number, "method": method} for number in (tokens // 2, tokens)]
            points = [(one["tokens"], measure_memory(memory_of, one)) for one in each]
            memory.append({**setting, "method": method, "points": points})

    unit = ("seconds a step, median (spread); x cross-entropy", 1, 3)
    last = ("fused / fairseq's criterion", FUSED, OF_FAIRSEQ)
    text = (
        "Whole training step; dropout 0.3 in translation, the architecture's in language models.\n\n"
        f"{times_tables(times, NAMES, label, unit, 'has none', last)}\n"
        f"Memory beyond the model's, its gradients' and the optimizer's, and the target tokens a batch that fit into "
        f"{MEMORY} GB of it (each seen twice), estimated from a line through the two sizes:\n\n{memory_table(memory)}"
    )
    write(args.out, f"step_{DEVICE}", text, {"times": times, "memory": memory}, draw)


if __name__ == "__main__":
    main()
