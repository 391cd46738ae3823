"""Convert a checkpoint of fairseq to CTranslate2 with that library's own converter, if it can hold the model."""

import re
import sys
import tempfile
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recipes.quiet import quiet
from recipes.training.checkpoints import load_state
from recipes.training.settings import in_one_line

# The parameters that the converter reads, and what old versions of fairseq saved besides. It would leave out others
# without a word, and so make a model that computes something else.
_LAYER = (
    r"(self_attn|encoder_attn)\.((in|out|k|v|q)_proj\.(weight|bias)|in_proj_(weight|bias))"
    r"|(self_attn_layer_norm|encoder_attn_layer_norm|final_layer_norm|fc1|fc2|layer_norms\.\d)\.(weight|bias)"
)
LONGEST = 300  # characters of a message; fairseq names each of a hundred parameters
READ = re.compile(
    r"(encoder|decoder)\.(version|embed_positions\.(_float_tensor|weights)"
    rf"|(embed_tokens|embed_positions|layer_norm|layernorm_embedding)\.(weight|bias)|layers\.\d+\.({_LAYER}))"
    r"|decoder\.output_projection\.(weight|bias)|decoder\.embed_out"
)
# What a model may have that the converter, or CTranslate2, does not know: by the setting of fairseq's Transformer.
UNKNOWN = {
    "adaptive_softmax_cutoff": "an adaptive softmax",
    "adaptive_input": "adaptive input embeddings",
    "no_cross_attention": "a decoder without attention to the source",
    "cross_self_attention": "attention to source and target in one",
    "no_token_positional_embeddings": "no positions",
    "no_decoder_final_norm": "a decoder without a last normalization",
    "quant_noise_pq": "a layer for quantization noise (quant_noise.pq)",
    "quant_noise_scalar": "weights that are rounded in each forward (quant_noise.scalar)",
}
INNER = ("encoder", "decoder", "quant_noise")  # sections
SIDES = ("input", "output")
TRANSFORMERS = ("transformer", "transformer_align")  # whose architectures fairseq counts to these models


def settings_of(given: Mapping[str, Any]) -> Namespace:
    """Return the settings of a Transformer in the form that fairseq-train once saved, which the converter reads.

    fairseq-hydra-train saves them in inner sections, and without the values that its architecture stands for. Exit if
    the model is no Transformer of fairseq's.

    Args:
        given: the settings of the model in a checkpoint.
    """
    from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_NAME_REGISTRY
    from fairseq.models.transformer import TransformerConfig

    arch = given.get("arch") or given.get("_name")
    if ARCH_MODEL_NAME_REGISTRY.get(arch) not in TRANSFORMERS:
        sys.exit(f"CTranslate2 cannot hold this model: it is '{arch}', and no Transformer for translation")
    # What stands beside an inner section for the same, such as encoder_layers, has no effect in the training.
    inner = [section for section in INNER if given.get(section) is not None]
    outside = tuple(f"{section}_" for section in inner)
    whole = Namespace(**{key: value for key, value in given.items() if not key.startswith(outside)})
    if not inner:
        ARCH_CONFIG_REGISTRY.get(arch, lambda _: None)(whole)
    flat: dict[str, Any] = {}
    for name, value in asdict(TransformerConfig.from_namespace(whole)).items():
        flat |= {f"{name}_{inner}": part for inner, part in value.items()} if isinstance(value, dict) else {name: value}
    files = {key: None for key in flat if key.endswith("embed_path")}  # the checkpoint itself holds the embeddings
    # Without the name and the inner sections, by which fairseq would build the model in another way.
    outer = {key: value for key, value in vars(whole).items() if key not in ("_name", *INNER)}
    return Namespace(**outer | flat | files | {"arch": arch, "task": "translation"})


def refuse_what_it_cannot_hold(settings: Namespace, parameters: Mapping[str, Any]) -> None:
    """Exit, saying why, if CTranslate2 or its converter does not know a part of the model."""
    own = vars(settings)
    reasons = [reason for name, reason in UNKNOWN.items() if own.get(name)]
    sizes = {f"decoder_{side}_dim": f"another size of the decoder's {side} than of its layers" for side in SIDES}
    reasons += [reason for name, reason in sizes.items() if own[name] != own["decoder_embed_dim"]]
    if not reasons:
        reasons = [f"the parameters {name}" for name in parameters if not READ.fullmatch(name)][:1]
    if reasons:
        sys.exit(f"CTranslate2 cannot hold this model: it has {' and '.join(reasons)}")


def convert(checkpoint: Path, dictionaries: Path, langs: tuple[str, str], out: Path, to: str) -> None:
    """Write the model of a checkpoint as CTranslate2 reads it. Exit if it cannot hold the model.

    Args:
        checkpoint: a file that is safe to load.
        dictionaries: the folder with dict.LANG.txt of the source and of the target language, which `langs` names.
        out: a folder, which is replaced if it exists.
        to: how the weights are stored, such as "int8"; one of `quantizations()`.
    """
    import torch
    from ctranslate2.converters import FairseqConverter

    with quiet():
        state = load_state(checkpoint)
        args = state.get("args")
        settings = settings_of(state["cfg"]["model"] if args is None else vars(args))
        refuse_what_it_cannot_hold(settings, state["model"])
        with tempfile.TemporaryDirectory() as folder:
            file = f"{folder}/checkpoint.pt"
            torch.save({"args": settings, "model": state["model"]}, file)
            try:
                FairseqConverter(file, str(dictionaries), *langs).convert(str(out), quantization=to, force=True)
            except Exception as error:  # of many kinds: the library, fairseq and PyTorch have their own
                reasons = re.findall(r"^- (.*)", str(error), re.MULTILINE)
                sys.exit(f"CTranslate2 cannot hold this model: {' and '.join(reasons) or in_one_line(error)[:LONGEST]}")


def quantizations() -> tuple[str, ...]:
    """Return the names of the ways in which CTranslate2 stores weights."""
    from ctranslate2.specs.model_spec import ACCEPTED_MODEL_TYPES

    return tuple(sorted(ACCEPTED_MODEL_TYPES))
