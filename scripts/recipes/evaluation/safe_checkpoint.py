"""Read a checkpoint of fairseq: its weights and its config, if it is safe to build its model."""

import argparse
import ast
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recipes.quiet import quiet
from recipes.training.checkpoints import load_state
from recipes.training.settings import in_one_line

# fairseq gives these settings of its models to Python's eval.
EVALUATED = {
    *("encoder_layers", "decoder_layers", "encoder_attention", "decoder_attention", "self_attention"),
    *("project_input", "gated_attention", "downsample", "pretrained", "character_filters", "conv_feature_layers"),
}
FURTHER = re.compile(r"w2v_path|\w*pretrained_\w+")  # settings of fairseq's models that name another checkpoint


@contextmanager
def failure_in_one_line(what: str) -> Iterator[None]:
    """Exit with "WHAT failed: ..." in one line if fairseq fails inside a with statement. Hide what it logs."""
    try:
        with quiet():
            yield
    except Exception as error:
        sys.exit(f"{what} failed: {in_one_line(error)}")


def load(path: Path, origin: str) -> dict[str, Any]:
    """Return a checkpoint. Exit if fairseq cannot, or must not, build its model. Messages call it by its origin."""
    with failure_in_one_line(f"loading {origin}"):
        if not zipfile.is_zipfile(path):
            sys.exit(f"{origin} is cut short, or no checkpoint")
        try:
            state = load_state(path)
        except UnpicklingError:
            sys.exit(f"{origin} is not loaded: it holds more than weights and settings, which could be a program")
        settings: dict[str, Any] = {}
        try:
            if isinstance(state["model"], dict) and int(state["optimizer_history"][-1]["num_updates"]) >= 0:
                settings = model_settings(state)
        except (AttributeError, KeyError, IndexError, TypeError, ValueError):
            pass
        if not settings:
            sys.exit(f"{origin} is no checkpoint of fairseq")
        for key, value in _texts(settings):
            if "${" in value or (key in EVALUATED and not is_arithmetic(value)):
                sys.exit(f"{origin} is refused: fairseq could run its {key} as a program: {' '.join(value.split())}")
            if FURTHER.fullmatch(key) and value not in ("", "None", "False"):
                sys.exit(f"{origin} is refused: its {key} names another checkpoint, {' '.join(value.split())}")
        return state


def model_settings(state: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a checkpoint's model; in an old checkpoint they stand among all others."""
    args = state.get("args")
    return items(args if args is not None else state["cfg"]["model"])


def config_of(state: dict[str, Any]) -> DictConfig:
    """Return the config of a checkpoint, as a config of fairseq-hydra-train has it.

    It may have been made by fairseq-train, by fairseq-hydra-train, or by a fairseq of a time before hydra, which stored
    all settings in one section. Of the section generation only what differs from fairseq's defaults is in the result.
    """
    args = state.get("args")
    if args is not None:
        flat = {**plain(args)}
        named = {section: {**flat, "_name": flat.get(key)} for section, key in (("task", "task"), ("model", "arch"))}
        kind = flat.get("post_process") or flat.get("remove_bpe")
        return OmegaConf.create({**named, "common": flat, "common_eval": {"post_process": kind}})
    sections = {key: plain(section) for key, section in items(state["cfg"]).items() if items(section)}
    with quiet():
        from fairseq.dataclass.configs import GenerationConfig
    usual = OmegaConf.to_container(OmegaConf.structured(GenerationConfig), enum_to_str=True)
    assert isinstance(usual, dict)
    generation = sections.get("generation", {})
    sections["generation"] = {key: value for key, value in generation.items() if value != usual.get(key, value)}
    return OmegaConf.create(sections)


def items(section: Any) -> dict[str, Any]:
    """Return the settings in a section of a checkpoint's config. fairseq stores sections in two forms."""
    section = vars(section) if isinstance(section, argparse.Namespace) else section
    return dict(section) if isinstance(section, Mapping) else {}


def plain(section: Any) -> dict[str, Any]:
    """Return the settings in a section, and in inner sections, that are texts, numbers or lists of these."""
    found: dict[str, Any] = {}
    for key, value in items(section).items():
        if isinstance(value, Mapping | argparse.Namespace):
            found[str(key)] = plain(value)
        elif isinstance(value, list | tuple):
            found[str(key)] = [part for part in value if isinstance(part, str | int | float)]
        elif value is None or isinstance(value, str | int | float):
            found[str(key)] = value
    return found


def _texts(section: Any) -> Iterator[tuple[str, str]]:
    """Yield the name and the value of each setting that is a text, in inner sections too."""
    for key, value in items(section).items():
        if isinstance(value, str):
            yield str(key), value
        yield from _texts(value)


def is_arithmetic(text: str) -> bool:
    """Return whether a Python expression holds only literals, lists, + and *, as "[(512, 3)] * 4" does."""
    allowed = (ast.Expression, ast.List, ast.Tuple, ast.Constant, ast.BinOp, ast.Add, ast.Mult, ast.UnaryOp, ast.USub)
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(isinstance(node, (*allowed, ast.Load)) for node in ast.walk(tree))
