"""Read the settings of a run, check them, and compare them with those that a run was made with."""

import sys
from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

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
FREE = (
    *LIMITS,
    "common.log_file",
    "common.log_format",
    "common.log_interval",
    "common.no_progress_bar",
    "common.wandb_project",
    "checkpoint.keep_best_checkpoints",
    "checkpoint.keep_interval_updates",
    "checkpoint.keep_interval_updates_pattern",
    "checkpoint.keep_last_epochs",
    "dataset.batch_size_valid",
    "dataset.data_buffer_size",
    "dataset.max_tokens_valid",
    "dataset.num_workers",
)
# These schedulers of the learning rate end at optimization.max_update unless their own setting says another update.
ENDS_AT_MAX_UPDATE = {"cosine": "max_update", "polynomial_decay": "total_num_update", "tri_stage": "max_update"}

# Settings that would break a run, or would be overruled without a message, and what to use instead.
RESTART = (
    "checkpoint.finetune_from_model=FILE starts a run from a model, and checkpoint.continue_once=FILE from its state"
)
NEEDED = "a run needs its checkpoints to go on and to be evaluated"
PROCESSES = "--gpus, --cpu-processes, --nodes and --master set it"
REFUSED = {
    "checkpoint.restore_file": f"the run would start from that file each time; {RESTART}",
    "checkpoint.reset_dataloader": f"it would be reset each time the run goes on; {RESTART}",
    "checkpoint.reset_lr_scheduler": f"it would be reset each time the run goes on; {RESTART}",
    "checkpoint.reset_meters": f"they would be reset each time the run goes on; {RESTART}",
    "checkpoint.reset_optimizer": f"it would be reset each time the run goes on; {RESTART}",
    "checkpoint.no_save": NEEDED,
    "checkpoint.no_last_checkpoints": NEEDED,
    "checkpoint.no_save_optimizer_state": NEEDED,
    "checkpoint.checkpoint_suffix": NEEDED,
    "checkpoint.write_checkpoints_asynchronously": NEEDED,
    "common.suppress_crashes": "a training that fails would look like one that has ended",
    "distributed_training.device_id": PROCESSES,
    "distributed_training.distributed_init_method": PROCESSES,
    "distributed_training.distributed_no_spawn": PROCESSES,
    "distributed_training.distributed_num_procs": PROCESSES,
    "distributed_training.distributed_port": PROCESSES,
    "distributed_training.distributed_rank": PROCESSES,
    "distributed_training.nprocs_per_node": PROCESSES,
}
HARMLESS = (None, False, "", "checkpoint_last.pt")  # the values of these settings that are fairseq's defaults


def in_one_line(error: object) -> str:
    """Return the text of an error on one line."""
    return " ".join(str(error).split()) or repr(error)


def read(file: Path) -> DictConfig:
    """Return the settings in a YAML file. Exit if the file holds none."""
    try:
        cfg = OmegaConf.load(file)
    except Exception as error:  # many kinds: of YAML, of the encoding, of omegaconf, of Python's dates and recursion
        sys.exit(f"{file} cannot be read: {in_one_line(error)}")
    if not isinstance(cfg, DictConfig):
        sys.exit(f"{file} is no config: it holds a list, not sections such as 'optimization: {{max_update: 1000}}'")
    check_sections(cfg, file)
    return cfg


def with_overrides(file: Path, overrides: list[str]) -> DictConfig:
    """Return the settings in a YAML file, changed by the overrides (KEY=VALUE). Exit if they cannot be read."""
    try:
        cfg = OmegaConf.merge(read(file), OmegaConf.from_dotlist(overrides))
        assert isinstance(cfg, DictConfig)
        check_sections(cfg, file)
    except (ValueError, YAMLError, OmegaConfBaseException) as error:
        sys.exit(f"{' '.join(map(str, [file, *overrides]))}: {in_one_line(error)}")
    for key, value in flat(cfg).items():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, int) and abs(part) > LARGEST:
                sys.exit(f"{key}={part}: the largest integer allowed is {LARGEST}")
    return cfg


def check_sections(cfg: DictConfig, file: Path) -> None:
    """Exit if one of the SECTIONS is something else than a section of settings."""
    for section, value in OmegaConf.to_container(cfg).items():  # type: ignore[union-attr]
        if section in SECTIONS and not isinstance(value, dict):
            sys.exit(f"{file}: {section} must be a section of settings, not {value!r}")


def setting(cfg: DictConfig, key: str, default: object = None) -> object:
    """Return the value of a setting. Exit if it refers to a setting that does not exist."""
    try:
        value = OmegaConf.select(cfg, key, default=default)
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    except OmegaConfBaseException as error:
        sys.exit(f"{key}: {in_one_line(error)}")


def flat(cfg: DictConfig) -> dict[str, object]:
    """Return the settings of all sections as {"section.key": value}."""
    leaves: dict[str, object] = {}

    def walk(prefix: str, value: object) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(f"{prefix}.{key}" if prefix else str(key), item)
        else:
            leaves[prefix] = value

    walk("", OmegaConf.to_container(cfg))
    return leaves


def refuse_what_breaks_a_run(cfg: DictConfig) -> None:
    """Exit if a setting would break a run that train.sh starts and continues."""
    for key, value in flat(cfg).items():
        if key in REFUSED and value not in HARMLESS:
            sys.exit(f"{key}={value}: leave it out: {REFUSED[key]}")


def refuse_missing_start(cfg: DictConfig) -> None:
    """Exit if the checkpoint from which a new run is to start does not exist. fairseq would start from nothing."""
    for key in ("checkpoint.continue_once", "checkpoint.finetune_from_model"):
        file = setting(cfg, key)
        if isinstance(file, str) and file and "://" not in file and not (ROOT / file).is_file():
            sys.exit(f"{key}={file}: there is no such file")


def refuse_other_than(cfg: DictConfig, fixed: dict[str, object], instead: dict[str, str]) -> None:
    """Exit if a setting has another value than the one that it will get.

    Args:
        fixed: the values that settings will get, by section.
        instead: what sets a setting, by its key.
    """
    own = flat(OmegaConf.create(fixed))
    for key, value in flat(cfg).items():
        section = key.split(".")[0]
        if (key in own or section == "hydra") and value != own.get(key):
            sys.exit(f"{key}={value}: leave it out: {instead.get(key, 'train.sh sets it')}")


def differences(old: DictConfig, new: DictConfig) -> list[str]:
    """Return the keys whose values differ between two configs."""
    before, after = flat(old), flat(new)
    return [key for key in {**before, **after} if before.get(key) != after.get(key)]


def bound(keys: Iterable[str], cfg: DictConfig) -> list[str]:
    """Return the keys among these that must not change in a run that has saved a checkpoint."""
    values, free = flat(cfg), set(FREE)
    end = ENDS_AT_MAX_UPDATE.get(str(values.get("lr_scheduler._name", values.get("lr_scheduler"))))
    if end and not isinstance(values.get(f"lr_scheduler.{end}"), int | float):
        free.remove("optimization.max_update")
    return [key for key in keys if key not in free]
