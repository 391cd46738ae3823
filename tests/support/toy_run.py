"""The shell scripts on a toy: a made-up prepared data set, configs for it, and what a script prints or refuses."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from support import command_line
from support.places import SCRIPTS
from support.waiting import HANG

CONFIG = """
common: {{log_format: json, log_interval: 1, cpu: true}}
checkpoint:
  save_interval_updates: 5
  no_epoch_checkpoints: true
  best_checkpoint_metric: bleu
  maximize_best_checkpoint_metric: true
task:
  _name: rdrop_translation
  data: {data}
  source_lang: de
  target_lang: en
  eval_bleu: true
  eval_bleu_args: '{{"beam": 1, "max_len_b": 10}}'
dataset: {{batch_size: 4, validate_interval_updates: 5, validate_interval: 1000, num_workers: 0}}
criterion: {{_name: {criterion}, label_smoothing: 0.1}}
optimizer: {{_name: adam}}
lr_scheduler: fixed
optimization: {{lr: [0.01], max_update: 25}}
model:
  _name: transformer
  dropout: 0.3
  encoder: {{embed_dim: 16, ffn_embed_dim: 16, layers: 1, attention_heads: 2}}
  decoder: {{embed_dim: 16, ffn_embed_dim: 16, layers: 1, attention_heads: 2}}
"""
# Overrides that shrink the model of any config of translation.
SMALL = [
    f"model.{side}.{size}"
    for side in ("encoder", "decoder")
    for size in ("embed_dim=16", "ffn_embed_dim=16", "layers=1", "attention_heads=2")
]


def settings() -> dict:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"env": {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}, "timeout": HANG}


def run(script: str, *options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(SCRIPTS / script), *map(str, options)], capture_output=True, text=True, **settings())


def refused(script: str, *options: object) -> str:
    """Run, check that it fails with one line on stderr, and return that line."""
    result = run(script, *options)
    assert result.returncode != 0, result.stdout
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def make_configs(folder: Path) -> Path:
    """Make a folder with the configs baseline.yaml and rdrop.yaml and the prepared data set that they name."""
    command_line.make_data(folder)
    for kind in ("raw", "tok"):
        (folder / kind).mkdir()
        shutil.copy(folder / "test.en", folder / kind / "made_up.en")
    (folder / "testsets").write_text("made_up\n")
    return write_configs(folder)


def write_configs(folder: Path) -> Path:
    """Write the configs alone. If there is no prepared data, two dictionaries stand in for it."""
    if not (folder / "bin").exists():
        (folder / "bin").mkdir()
        for lang in ("de", "en"):
            (folder / f"bin/dict.{lang}.txt").write_text(f"{lang}0 5\n{lang}1 4\n")
    for name in ("baseline", "rdrop"):
        criterion = "label_smoothed_cross_entropy" if name == "baseline" else "rdrop_label_smoothed_cross_entropy"
        (folder / f"{name}.yaml").write_text(CONFIG.format(data=folder / "bin", criterion=criterion))
    return folder
