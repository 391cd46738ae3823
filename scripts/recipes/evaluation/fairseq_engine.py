"""Translate lines of subwords with the models of fairseq's checkpoints, as fairseq-interactive does."""

import math
import re
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipes.evaluation.checkpoint_choice import failure_in_one_line
from recipes.evaluation.decoding import MAX_TOKENS, Hypothesis

# fairseq would read embeddings from these files when it builds a model, though its checkpoint holds them.
WITHOUT_EMBEDDINGS = dict.fromkeys(("embed_path", "encoder_embed_path", "decoder_embed_path"))
OTHER_SIZE = re.compile(r"size mismatch for \w+\.embed_tokens\.weight: .*?\[(\d+),.*?\[(\d+),")


class FairseqEngine:
    """The models of checkpoints, which decode together. They stay in memory; the checkpoints may be removed.

    Args:
        checkpoints: files that are safe to load.
        origin: how messages call them.
        positions: how many subwords the models take of a source line.
        dictionaries: the folder with dict.LANG.txt of both languages.
        cpu: whether to use no GPU. Without it, one is used if there is one.
    """

    def __init__(
        self,
        checkpoints: Sequence[Path],
        origin: str,
        positions: int,
        dictionaries: Path,
        languages: tuple[str, str],
        cpu: bool = False,
    ) -> None:
        self.origin, self.longest = origin, positions
        source, target = languages
        for lang in languages:
            if not (dictionaries / f"dict.{lang}.txt").is_file():
                sys.exit(f"there is no dictionary {dictionaries}/dict.{lang}.txt")
        with failure_in_one_line(f"loading {origin}"):
            import torch
            from fairseq.checkpoint_utils import load_model_ensemble
            from fairseq.tasks.translation import TranslationConfig, TranslationTask

            config = TranslationConfig(data=str(dictionaries), source_lang=source, target_lang=target)
            self._task = TranslationTask.setup_task(config)
            paths = [str(path) for path in checkpoints]
            try:
                self.models, _ = load_model_ensemble(paths, arg_overrides=WITHOUT_EMBEDDINGS, task=self._task)
            except RuntimeError as error:
                if found := OTHER_SIZE.search(str(error)):
                    trained, given = found.groups()
                    others = f"{trained} entries, those of {dictionaries} have {given}"
                    sys.exit(f"{origin} was trained with other dictionaries: its dictionary had {others}")
                raise
            self._cuda = torch.cuda.is_available() and not cpu
            for model in self.models:
                if self._cuda:
                    model.cuda()
                model.prepare_for_inference_(Namespace(generation=Namespace()))

    def translate(self, lines: list[str], how: dict[str, Any], nbest: int) -> list[list[Hypothesis]]:
        """Return the hypotheses of each line. See `Engine`.

        Lines of about the same length are decoded together, up to MAX_TOKENS subwords with the padding.
        """
        with failure_in_one_line(f"translating with {self.origin}"):
            import numpy
            from fairseq.dataclass.configs import GenerationConfig
            from fairseq.utils import move_to_cuda
            from omegaconf import OmegaConf

            settings = OmegaConf.merge(OmegaConf.structured(GenerationConfig), how)
            generator = self._task.build_generator(self.models, settings)
            words = self._task.source_dictionary
            tokens = [words.encode_line(line, add_if_not_exist=False).long() for line in lines]
            lengths = numpy.array([len(line) for line in tokens])
            data = self._task.build_dataset_for_inference(tokens, lengths)
            by_length = numpy.argsort(lengths, kind="stable")
            found: dict[int, list[Hypothesis]] = {}
            for batch in data.batch_by_size(by_length, max_tokens=max(MAX_TOKENS, *lengths)):
                sample = data.collater([data[index] for index in batch])
                sample = move_to_cuda(sample) if self._cuda else sample
                results = self._task.inference_step(generator, self.models, sample)
                for index, of_line in zip(sample["id"].tolist(), results, strict=True):
                    found[index] = [self._hypothesis(hypothesis) for hypothesis in of_line[:nbest]]
        return [found[index] for index in range(len(lines))]

    def _hypothesis(self, found: dict[str, Any]) -> Hypothesis:
        """Return a hypothesis of fairseq's with its subwords as text, and its score in bits."""
        tokens = found["tokens"].int().cpu()
        return Hypothesis(self._task.target_dictionary.string(tokens), float(found["score"]) / math.log(2), len(tokens))
