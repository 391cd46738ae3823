"""Start a run from the parameters of a trained model: what --from of train.sh names, whether it fits, and its copy.

The copy in the run folder holds the parameters alone. So the optimizer, the schedule of the learning rate, the place in
the data, the time and an average of the weights (EMA) start from the beginning. The model itself may change or go.
"""

import io
import re
import sys
import zipfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recipes.cli import ROOT
from recipes.files import whole_file, write_whole
from recipes.quiet import quiet
from recipes.training.checkpoints import load_state
from recipes.training.run_folder import RunFolder, checksums
from recipes.training.settings import in_one_line, setting

BEST = "checkpoints/checkpoint_best.pt"
FORMER = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the start of a file of PyTorch before 1.6, as RoBERTa's are


@dataclass(frozen=True)
class Start:
    """A model from which a run can start."""

    path: Path  # of its checkpoint
    checksum: str  # the SHA-256 of the checkpoint
    state: dict[str, Any]  # a checkpoint with the parameters alone

    def write(self, run: RunFolder) -> None:
        """Write the parameters to a run folder, and what they are."""
        import torch

        # torch.save would write the name of the temporary file into the checkpoint if it were given a path.
        with whole_file(run.start) as part, part.open("wb") as file:
            torch.save(self.state, file)
        write_whole(run.started_from, f"{self.checksum}  {self.path}\n")


def check_same(run: RunFolder, given: Path) -> None:
    """Exit unless a run that goes on was started from the model that --from names. The model may be gone."""
    if not run.started_from.exists():
        sys.exit(f"{run} has trained without --from: leave it out, or use another --out")
    path = run.started_from.read_text(encoding="utf-8").rstrip("\n").partition("  ")[2]
    if Path(path) not in (given, given / BEST):
        sys.exit(f"{run} was started from {path}, not from {given}; use another --out")


def find_start(given: Path, cfg: DictConfig, run: RunFolder) -> Start:
    """Return the model that --from names, for a run with this config. Exit if it does not fit the run.

    Args:
        given: a run folder, whose best checkpoint is taken, or a checkpoint.
    """
    path = given / BEST if given.is_dir() else given
    if not path.is_file():
        sys.exit(f"--from {given}: there is no {path}")
    if path.is_relative_to(run.path.resolve()):
        sys.exit(f"--from {given}: a run cannot start from itself; use another --out")
    content = path.read_bytes()  # at once, because a training may replace the file
    state = read_checkpoint(content, path)
    for of_run in map(RunFolder, path.parents[:2]):  # it lies in the checkpoints of a run, or beside them
        if of_run.train_yaml.is_file() and of_run.dictionaries.is_file():
            check_dictionaries(of_run, cfg, given)
            break
    try:
        with quiet():
            model = new_model(cfg)
            expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
            found = dict(state["model"])
            model.upgrade_state_dict(found)
    except Exception as error:  # of fairseq, of many kinds
        sys.exit(f"building the model failed: {in_one_line(error)}")
    compare({name: tuple(value.shape) for name, value in found.items()}, expected, given, cfg)
    return Start(path, sha256(content).hexdigest(), parameters_alone(state))


def read_checkpoint(content: bytes, path: Path) -> dict[str, Any]:
    """Return the checkpoint of fairseq in the content of a file. Exit if it is none."""
    import torch

    try:
        if not (zipfile.is_zipfile(io.BytesIO(content)) or content.startswith(FORMER)):
            raise ValueError
        state = load_state(io.BytesIO(content))
        model = state["model"]
        if model and all(isinstance(value, torch.Tensor) for value in model.values()):
            return dict(state)
    except UnpicklingError:
        sys.exit(f"{path} is not loaded: it holds more than weights and settings, which could be a program")
    except (RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError):
        pass
    sys.exit(f"{path} is cut short, or no checkpoint of fairseq")


def check_dictionaries(source: RunFolder, cfg: DictConfig, given: Path) -> None:
    """Exit if a dictionary of the data is another one than that with which the run `source` was trained."""

    def known(text: str, languages: list[object]) -> list[str | None]:
        of_name = {name: checksum for checksum, name in re.findall(r"([0-9a-f]{64}) [ *](\S+)", text)}
        alone = of_name.get("dict.txt", of_name.get("input0/dict.txt"))  # of a model of one language
        return [of_name.get(f"dict.{lang}.txt") if lang else alone for lang in languages]

    keys = ("task.source_lang", "task.target_lang")
    data = ROOT / str(setting(cfg, "task.data"))
    here = known(checksums(data), [setting(cfg, key) for key in keys])
    there = known(source.known_dictionaries(), [source.setting(key, str) for key in keys])
    if here != there:
        sys.exit(f"--from {given}: it was trained with other dictionaries than {data} has")


def whole_config(cfg: DictConfig) -> DictConfig:
    """Return the sections of a config of fairseq-hydra-train with fairseq's defaults. Raise what fairseq raises."""
    from fairseq.dataclass.configs import FairseqConfig
    from fairseq.dataclass.initialize import add_defaults

    whole = OmegaConf.merge(OmegaConf.structured(FairseqConfig), cfg)
    assert isinstance(whole, DictConfig)
    add_defaults(whole)
    return whole


def new_model(cfg: DictConfig) -> Any:
    """Return the model that fairseq builds for a config of fairseq-hydra-train."""
    from fairseq import tasks

    sections: Any = OmegaConf.to_container(cfg, resolve=True)
    sections["task"]["data"] = str(ROOT / sections["task"]["data"])
    names = ("common", "task", "model", "criterion")  # the task of sentence prediction takes settings of the criterion
    parts = {name: sections[name] for name in names if name in sections}
    whole = whole_config(OmegaConf.create(parts))
    return tasks.setup_task(whole.task).build_model(whole.model)


def compare(found: dict[str, Any], expected: dict[str, Any], given: Path, cfg: DictConfig) -> None:
    """Exit, saying what differs, if a checkpoint has other parameters, or others in size, than a model expects."""
    differing = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
    differing.sort(key=lambda name: not name.endswith("embed_tokens.weight"))  # a dictionary explains the rest
    if not differing:
        return
    name = differing[0]
    there, here = found.get(name), expected.get(name)
    if there is None or here is None:
        owner = "config" if here else "checkpoint"
        sys.exit(f"--from {given}: it has another architecture: only the {owner} has {name}")
    if name.endswith("embed_tokens.weight") and there[1:] == here[1:]:
        data = setting(cfg, "task.data")
        sys.exit(f"--from {given}: it was trained with {there[0]} entries in its dictionary, and {data} has {here[0]}")
    sizes = (" x ".join(map(str, size)) for size in (there, here))
    sys.exit(f"--from {given}: it has another architecture: {name} is {' there, and '.join(sizes)} in the config")


def parameters_alone(state: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint without all that belongs to its training, for fairseq's checkpoint.finetune_from_model."""
    kept = {key: state[key] for key in ("args", "cfg", "model", "criterion") if key in state}
    names = dict.fromkeys(("criterion_name", "optimizer_name"), "")
    return kept | {
        "optimizer_history": [names | {"lr_scheduler_state": {}, "num_updates": 0}],
        "last_optimizer_state": None,
        "extra_state": {
            "train_iterator": {"version": 2, "epoch": 1, "iterations_in_epoch": 0, "shuffle": True},
            "ema": state["model"],  # where it is missing, fairseq fails in a run with ema.store_ema
        },
    }
