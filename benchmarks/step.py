"""Time and memory of a whole training step (forward, backward, optimizer), R-Drop against plain cross-entropy.

python benchmarks/step.py [--out DIR] [--quick] [--rounds N] [--memory GB] [--cpu]

The peers see the same sentences twice: fairseq's cross-entropy on the batch doubled, fairseq's own R-Drop criterion
(for translation; it has none for language models), and ours, plain and fused. Prints times, each also as a multiple of
plain cross-entropy in the same round, on a CPU for both ways to allocate memory (measure.py); for translation also the
peak memory beyond the model's (of the big model on a GPU alone), and how many tokens would fit into --memory, from a
line through two measured sizes.
"""

import functools
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from statistics import median
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
from measure import (
    DTYPES,
    Workers,
    arguments,
    in_a_fresh_process,
    peak_bytes,
    say,
    tables,
    work,
    write,
)
from omegaconf import OmegaConf
from pictures import draw_ratios, ratio
from recipes.table import markdown_table

from rdrop_fairseq.passes import repeat_batch
from rdrop_fairseq.tasks.rdrop_language_modeling import RDropLanguageModelingTask
from rdrop_fairseq.tasks.rdrop_translation import RDropTranslationTask

WORDS_A_SENTENCE, WORDS_A_BLOCK = 32, 512
PLAIN_CE, OF_FAIRSEQ, PLAIN, FUSED = (
    "cross-entropy, doubled batch",
    "R-Drop, fairseq's criterion",
    "R-Drop, plain",
    "R-Drop, fused",
)
TRANSLATION, LM, ADAPTIVE_LM = "translation", "language model", "language model with adaptive softmax"
Criterions = dict[str, tuple[str, dict[str, Any]]]  # what it is called here: registered name, settings


def against(parent: str, **settings: Any) -> Criterions:
    """The parent on the doubled batch and the R-Drop criterion of the same name, in both ways."""
    criterions: Criterions = {PLAIN_CE: (parent, settings)}
    for name, loss in ((PLAIN, "plain"), (FUSED, "fused")):
        criterions[name] = (f"rdrop_{parent}", {**settings, "rdrop_loss": loss})
    return criterions


OF_FAIRSEQS_OWN = ("label_smoothed_cross_entropy_with_rdrop", {"rdrop_alpha": 5.0, "label_smoothing": 0.1})
CRITERIONS: dict[str, Criterions] = {
    TRANSLATION: {**against("label_smoothed_cross_entropy", label_smoothing=0.1), OF_FAIRSEQ: OF_FAIRSEQS_OWN},
    LM: against("cross_entropy"),
    ADAPTIVE_LM: against("adaptive_loss", ddp_backend="legacy_ddp"),
}
NAMES = (PLAIN_CE, OF_FAIRSEQ, PLAIN, FUSED)

TRANSLATION_MODEL = {"share_all_embeddings": True, "dropout": 0.3}
LM_MODEL = {"decoder_layers_to_keep": None, "max_target_positions": WORDS_A_BLOCK}
TWO_LAYERS = {"decoder_layers": 2}


def dictionary(size: int) -> Dictionary:
    made = Dictionary()
    for number in range(size - len(made)):
        made.add_symbol(str(number))
    return made


def batch(kind: str, tokens: int, vocab: int, device: str) -> dict[str, Any]:
    """Sentences of one length, ``tokens`` words on each side; blocks of running text for a language model."""
    generator = torch.Generator().manual_seed(1)
    length = WORDS_A_SENTENCE if kind == TRANSLATION else min(tokens, WORDS_A_BLOCK)
    words = torch.randint(4, vocab, (2, tokens // length, length), generator=generator)
    words[:, :, -1] = 2  # the end of the sentence
    if kind == TRANSLATION:
        sources, merge = words[1], collate
    else:
        sources, merge = words[0].roll(1, 1), collate_blocks
    pairs = [{"id": i, "source": source, "target": target} for i, (source, target) in enumerate(zip(sources, words[0]))]  # noqa: B905
    sample: dict[str, Any] = merge(pairs, pad_idx=1, eos_idx=2)
    net_input = {name: tensor.to(device) for name, tensor in sample["net_input"].items()}
    return {**sample, "net_input": net_input, "target": sample["target"].to(device)}


def training_steps(setting: dict[str, Any], names: Iterable[str], device: str) -> Mapping[str, Callable[[], None]]:
    """Steps as fairseq's trainer makes them, of one model, with the criterions of these names."""
    words = dictionary(setting["vocab"])
    if setting["kind"] == TRANSLATION:
        task: Any = RDropTranslationTask(TranslationConfig(), words, words)
    else:
        task = RDropLanguageModelingTask(LanguageModelingConfig(), words)
    args = Namespace(**setting["model"])
    ARCH_CONFIG_REGISTRY[setting["arch"]](args)
    torch.manual_seed(1)
    model = ARCH_MODEL_REGISTRY[setting["arch"]].build_model(args, task).to(device, DTYPES[setting["dtype"]])
    optimizer = FairseqAdam(
        OmegaConf.structured(FairseqAdamConfig(lr=[1e-4], tpu=False, fp16_adam_stats=False)), list(model.parameters())
    )
    sample = batch(setting["kind"], setting["tokens"], setting["vocab"], device)

    def step(name: str, criterion: FairseqCriterion) -> None:
        seen = repeat_batch(sample, 2) if name == PLAIN_CE else {**sample, "net_input": dict(sample["net_input"])}
        optimizer.zero_grad()
        _, sample_size, _ = task.train_step(seen, model, criterion, optimizer, 0)
        optimizer.multiply_grads(1 / sample_size)
        optimizer.clip_grad_norm(0.0)
        optimizer.step()

    steps = {}
    for name in names:
        registered, settings = CRITERIONS[setting["kind"]][name]
        known = CRITERION_DATACLASS_REGISTRY[registered]
        config = OmegaConf.structured(known(sentence_avg=False, **settings))
        config._name = registered
        steps[name] = functools.partial(step, name, task.build_criterion(config))
    return steps


def memory_of(setting: dict[str, Any]) -> int:
    """Peak bytes of a step beyond what the model, its gradients and the optimizer's state take."""
    (step,) = training_steps(setting, [setting["method"]], setting["device"]).values()
    step()  # makes the optimizer's state and the gradients
    return peak_bytes(step, setting["device"])


def measure_memory(setting: dict[str, Any], methods: Iterable[str]) -> list[dict[str, Any]]:
    found = []
    for method in methods:
        say(f"  memory of {method}")
        points = []
        for tokens in (setting["tokens"] // 2, setting["tokens"]):
            one = {**setting, "tokens": tokens, "method": method}
            on_gpu = setting["device"] == "cuda"
            points.append((tokens, memory_of(one) if on_gpu else in_a_fresh_process(__file__, one)))
        found.append({**setting, "method": method, "points": points})
    return found


def times_table(times: list[dict[str, Any]]) -> str:
    """The times of one way to allocate memory."""
    rows = [["seconds a step, median (spread); x cross-entropy", *map(label, times)]]
    for name in NAMES:
        row = [name]
        for entry in times:
            if name not in entry["seconds"]:
                row.append("has none")
                continue
            own = sorted(entry["seconds"][name])
            multiple = ratio(entry["seconds"], name, PLAIN_CE)
            row.append(f"{median(own):,.3f} ({own[0]:,.3f} to {own[-1]:,.3f}); {multiple:.2f}")
        rows.append(row)
    ratios = (ratio(each["seconds"], FUSED, OF_FAIRSEQ) if OF_FAIRSEQ in each["seconds"] else None for each in times)
    rows.append(["fused / fairseq's criterion", *("" if value is None else f"{value:.2f}" for value in ratios)])
    return markdown_table(rows)


def memory_table(memory: list[dict[str, Any]], limit: float) -> str:
    rows = [["", "model, vocabulary", "peak MB at tokens", "tokens that fit"]]
    for entry in memory:
        (less, low), (more, high) = entry["points"]
        cells = ["not run", "not run"]
        if low and high and high > low:
            slope = (high - low) / (more - less)
            fit = (limit * 1e9 - low) / slope + less
            cells = [f"{low / 1e6:,.0f} at {less:,}, {high / 1e6:,.0f} at {more:,}", f"{fit:,.0f}"]
        rows.append([entry["method"], f"{entry['label']}, {entry['vocab']:,}", *cells])
    return markdown_table(rows)


def label(setting: dict[str, Any]) -> str:
    return f"{setting['label']}, {setting['dtype']}, V = {setting['vocab']:,}, 2 x {setting['tokens']:,} tokens"


def draw(facts: dict[str, Any], pyplot: Any) -> Any:
    def lines(entry: dict[str, Any]) -> str:
        return label({**entry, "label": entry["arch"]}).replace(", ", "\n", 1)

    return draw_ratios([("whole training step", facts["times"], PLAIN_CE, lines)], pyplot)


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(rounds=3)
    parser.add_argument("--memory", type=float, default=8.0, help="gigabytes for the tokens that fit (default: 8)")
    args = parser.parse_args()
    if args.memory_of:
        print(memory_of(args.memory_of))
        return
    if args.memory <= 0:
        parser.error(f"--memory {args.memory}: must be above 0")
    device = "cuda" if torch.cuda.is_available() and not args.cpu else "cpu"
    if args.worker:
        work(lambda setting: training_steps(setting, CRITERIONS[setting["kind"]], device), device)
        return
    iwslt, big = "transformer_iwslt_de_en", "transformer_vaswani_wmt_en_de_big"
    gpt, wiki103 = "transformer_lm_gpt", "transformer_lm_wiki103"
    dtype = "bfloat16" if device == "cuda" else "float32"
    grid: list[tuple[str, int, int, dict[str, Any]]]
    if args.quick:
        narrow = {"encoder_embed_dim": 32, "decoder_embed_dim": 32}
        cutoffs = {"adaptive_softmax_cutoff": "200,600", "adaptive_input_cutoff": "200,600"}
        grid = [(iwslt, 1000, 64, narrow), (gpt, 1000, 64, {**TWO_LAYERS, "decoder_embed_dim": 96}),
                (wiki103, 1000, 64, {**TWO_LAYERS, "decoder_embed_dim": 64, **cutoffs})]  # fmt: skip
    elif device == "cuda":
        grid = [(iwslt, 10_000, 4096, {}), (iwslt, 32_768, 4096, {}), (big, 32_768, 4096, {}), (big, 44_000, 4096, {}),
                (gpt, 33_278, 2048, {}), (wiki103, 267_744, 3072, {})]  # fmt: skip
    else:
        grid = [(iwslt, 10_000, 1024, {}), (iwslt, 32_768, 1024, {}), (big, 32_768, 256, {}),
                (gpt, 33_278, 512, TWO_LAYERS), (wiki103, 267_744, 512, TWO_LAYERS)]  # fmt: skip

    times: list[dict[str, Any]] = []
    memory: list[dict[str, Any]] = []
    with Workers(__file__, device) as workers:
        for number, (arch, vocab, tokens, changes) in enumerate(grid, 1):
            kind = {gpt: LM, wiki103: ADAPTIVE_LM}.get(arch, TRANSLATION)
            setting = {
                "kind": kind,
                "arch": arch,
                "label": ", ".join([f"{arch} but" if changes else arch, *(f"{key} {changes[key]}" for key in changes)]),
                "model": (LM_MODEL if kind != TRANSLATION else TRANSLATION_MODEL) | changes,
                "vocab": vocab,
                "tokens": tokens,
                "dtype": dtype,
                "device": device,
            }
            say(f"[{number}/{len(grid)}] {label(setting)}")
            measured = workers.seconds(setting, args.rounds)
            times += [{**setting, "allocator": name, "seconds": spent} for name, spent in measured.items()]
            # The big model's batches that a CPU can time take less memory than its optimizer does for a moment.
            if kind == TRANSLATION and (device == "cuda" or arch == iwslt) and not args.quick:
                memory += measure_memory(setting, (PLAIN_CE, OF_FAIRSEQ, FUSED))

    text = (
        "Whole training step; dropout 0.3 in translation, the architecture's in language models.\n\n"
        f"{tables(times, times_table)}\n"
        f"Memory beyond the model's, its gradients' and the optimizer's, and the target tokens a batch that fit into "
        f"{args.memory:g} GB of it (each seen twice), estimated from a line through the two sizes:\n\n"
        f"{memory_table(memory, args.memory)}"
    )
    write(args.out, f"step_{device}", text, {"times": times, "memory": memory}, draw)


if __name__ == "__main__":
    main()
