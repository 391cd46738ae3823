"""Read the settings of a run, check them, and compare them with those that a run was made with."""

import copy
import functools
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recipes.cli import ROOT

SECTIONS = ("common", "checkpoint", "dataset", "distributed_training", "hydra", "optimization")
LARGEST = 2**63 - 1  # integer that PyTorch and NumPy hold

# The limits say when training ends. A run can go on with others, because they do not change what an update does.
LIMITS = (
    "optimization.max_update",
    "optimization.max_epoch",
    "optimization.stop_time_hours",
    "optimization.stop_min_lr",
    "checkpoint.patience",
)
# These may change in a run too: what is logged and kept, and how the work is divided.
FREE = re.compile(
    r"common\.(log_\w+|no_progress_bar|wandb_project)|checkpoint\.keep_\w+"
    r"|dataset\.(batch_size_valid|data_buffer_size|max_tokens_valid|num_workers)"
)
# These schedulers of the learning rate end at optimization.max_update unless their own setting says another update.
ENDS_AT_MAX_UPDATE = {"cosine": "max_update", "polynomial_decay": "total_num_update", "tri_stage": "max_update"}

# Settings that would break a run, or would be overruled without a message, and what to use instead.
RESTART = "--from RUN_OR_CHECKPOINT starts a run from a model, and checkpoint.continue_once=FILE from its whole state"
REFUSED = {
    r"common\.seed": "--seed sets it",
    r"common\.user_dir": "it is the plugin's, rdrop_fairseq",
    r"checkpoint\.save_dir|common\.tensorboard_logdir": "--out sets it, as a folder of the run",
    r"hydra\..*": "train.sh sets it",
    r"checkpoint\.restore_file": f"the run would start from that file each time; {RESTART}",
    r"checkpoint\.reset_\w+": f"it would be reset each time the run goes on; {RESTART}",
    r"checkpoint\.(no_save|no_last_checkpoints|no_save_optimizer_state|checkpoint_suffix"
    r"|write_checkpoints_asynchronously)": "a run needs its checkpoints to go on and to be evaluated",
    r"common\.suppress_crashes": "a training that fails would look like one that has ended",
    r"distributed_training\.(device_id|nprocs_per_node"
    r"|distributed_(init_method|no_spawn|num_procs|port|rank))": "--gpus, --cpu-processes, --nodes and --master set it",
}
STARTS = ("checkpoint.continue_once", "checkpoint.finetune_from_model")  # they name a checkpoint to start from
HARMLESS = (None, False, "", "checkpoint_last.pt")  # the values of these settings that are fairseq's defaults


def in_one_line(error: object) -> str:
    """Return the text of an error on one line."""
    return " ".join(str(error).split()) or repr(error)


@functools.cache
def _parsed(text: str, name: str) -> DictConfig | ListConfig:
    """Return what the text of a YAML file of this name holds. A study reads its configs several times for each run."""
    stream = io.StringIO(text)
    stream.name = name  # for YAML's messages
    return OmegaConf.load(stream)


def read(file: Path, overrides: Sequence[str] = ()) -> DictConfig:
    """Return the settings in a YAML file, changed by overrides (KEY=VALUE). Exit if they cannot be read."""
    try:
        cfg = copy.deepcopy(_parsed(file.read_text(encoding="utf-8"), str(file)))
        if not isinstance(cfg, DictConfig):
            sys.exit(f"{file} is no config: it holds a list, not sections such as 'optimization: {{max_update: 1000}}'")
        cfg.merge_with(OmegaConf.from_dotlist(list(overrides)))
    except Exception as error:  # many kinds: of YAML, of the encoding, of omegaconf, of Python's dates and recursion
        sys.exit(f"{' '.join([str(file), *overrides])} cannot be read: {in_one_line(error)}")
    for key, value in flat(cfg).items():
        if key in SECTIONS:
            sys.exit(f"{file}: {key} must be a section of settings, not {value!r}")
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, int) and abs(part) > LARGEST:
                sys.exit(f"{key}={part}: the largest integer allowed is {LARGEST}")
    return cfg


def setting(cfg: DictConfig, key: str, default: object = None, file: str = "") -> object:
    """Return the value of a setting. Exit, naming the file, if it refers to a setting that does not exist."""
    try:
        value = OmegaConf.select(cfg, key, default=default)
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    except OmegaConfBaseException as error:
        sys.exit(f"{file}{key}: {str(error).splitlines()[0]}")


def flat(cfg: DictConfig | dict[Any, Any], prefix: str = "") -> dict[str, object]:
    """Return the settings of all sections as {"section.key": value}."""
    leaves: dict[str, object] = {}
    container: Any = OmegaConf.to_container(cfg) if isinstance(cfg, DictConfig) else cfg
    for key, value in container.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves


def refuse_what_breaks_a_run(cfg: DictConfig, fixed: dict[str, Any]) -> None:
    """Exit if a setting would break a run, or has another value than the fixed one that train.sh gives to each run."""
    own = flat(fixed)
    for key, value in flat(cfg).items():
        reason = next((reason for pattern, reason in REFUSED.items() if re.fullmatch(pattern, key)), "")
        if reason and (value != own[key] if key in own else value not in HARMLESS):
            sys.exit(f"{key}={value}: leave it out: {reason}")


def refuse_missing_start(cfg: DictConfig) -> None:
    """Exit if the checkpoint from which a new run is to start does not exist. fairseq would start from nothing."""
    for key in STARTS:
        file = setting(cfg, key)
        if isinstance(file, str) and file and "://" not in file and not (ROOT / file).is_file():
            sys.exit(f"{key}={file}: there is no such file")


def differences(old: DictConfig, new: DictConfig) -> dict[str, str]:
    """Return the settings that differ between two configs: by their keys, texts that give both values."""
    before, after = flat(old), flat(new)
    return {
        key: f"{key} ({before.get(key, 'absent')} there, {after.get(key, 'absent')} now)"
        for key in {**before, **after}
        if before.get(key) != after.get(key)
    }


def is_bound(key: str, cfg: DictConfig) -> bool:
    """Return whether a setting must not change in a run that has saved a checkpoint."""
    values = flat(cfg)
    end = ENDS_AT_MAX_UPDATE.get(str(values.get("lr_scheduler._name", values.get("lr_scheduler"))))
    if key == "optimization.max_update" and end:
        return not isinstance(values.get(f"lr_scheduler.{end}"), int | float)
    return key not in LIMITS and not FREE.fullmatch(key)
