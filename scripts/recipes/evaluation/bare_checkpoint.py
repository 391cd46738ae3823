"""A checkpoint that was made without scripts/train.sh, read as the run that it stands for."""

import sys
from functools import cached_property
from pathlib import Path

from omegaconf import DictConfig

from recipes.evaluation.safe_checkpoint import config_of, load
from recipes.quiet import quiet
from recipes.training.run_folder import RunFolder, check_path, dictionaries_of


class BareCheckpoint(RunFolder):
    """A checkpoint, or a folder of checkpoints, with its binarized data, in place of a run folder.

    Its config is the checkpoint's own. Its evaluations lie beside the checkpoint.
    """

    def __init__(self, given: Path, data: Path) -> None:
        """Take a checkpoint or the folder that fairseq saved to, and the folder that fairseq-preprocess wrote."""
        given = check_path(given.resolve())
        self.is_folder = given.is_dir()
        super().__init__(given if self.is_folder else given.parent)
        self.given = given
        self.checkpoints = self.path
        self.best = given / "checkpoint_best.pt" if self.is_folder else given
        self.last = given / "checkpoint_last.pt" if self.is_folder else given
        self.given_data = check_path(data.resolve())
        # Messages call the config by the file that holds it.
        self.train_yaml = next((path for path in (self.best, *self.saved()) if path.exists()), self.best)

    def __str__(self) -> str:
        return str(self.given)

    @cached_property
    def config(self) -> DictConfig:
        """The config in the checkpoint. Exit if there is none, or if it is not safe to use."""
        if not self.train_yaml.is_file():
            sys.exit(f"there is no checkpoint {self.train_yaml}")
        config = config_of(load(self.train_yaml, str(self.train_yaml)))
        if config.get("common_eval", {}).get("post_process") is None:
            # fairseq-train has no such setting. With --eval-bleu-remove-bpe the training says how to join subwords.
            joined = config.get("task", {}).get("eval_bleu_remove_bpe")
            config["common_eval"] = {"post_process": joined} if joined else {}
        if "translation" in str(config.get("task", {}).get("_name")) and not config.task.get("source_lang"):
            # fairseq-train takes the languages from the names of the data if no flag says them.
            with quiet():
                from fairseq.data.data_utils import infer_language_pair
            config.task.source_lang, config.task.target_lang = infer_language_pair(str(self.data))
        return config

    @property
    def data(self) -> Path:
        """The absolute path of the binarized data. Exit if it holds no dictionary."""
        if not dictionaries_of(self.given_data):
            sys.exit(f"--data {self.given_data} is no folder of fairseq-preprocess: it holds no dict.LANG.txt")
        return self.given_data

    @property
    def preparation(self) -> tuple[Path, Path]:
        """The folder that says how the data was prepared, if there is one, and that of the dictionaries."""
        return self.data.parent, self.data

    @property
    def next_step(self) -> str:
        """No command follows from the folder alone."""
        return ""

    def check_dictionaries(self, folder: Path) -> None:
        """Check nothing: a checkpoint does not say its dictionaries. Their sizes are checked with the model."""
