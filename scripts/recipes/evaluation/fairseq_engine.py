"""Translate lines of subwords with the models of fairseq's checkpoints, as fairseq-interactive does."""

import math
import sys
from argparse import Namespace
from typing import Any

from recipes.evaluation.checkpoint_choice import Checkpoint, failure_in_one_line
from recipes.evaluation.decoding import MAX_TOKENS, WITHOUT_EMBEDDINGS, Hypothesis, Run


class FairseqEngine:
    """The models of checkpoints, which decode together. They stay in memory; the checkpoints may be removed."""

    def __init__(self, run: Run, checkpoint: Checkpoint, cpu: bool) -> None:
        """Load the models, with the dictionaries of the run. If `cpu` is false, use a GPU if there is one."""
        self.origin, self.longest = checkpoint.origin, checkpoint.positions[0]
        for lang in (run.source, run.target):
            if not (run.bin / f"dict.{lang}.txt").is_file():
                sys.exit(f"there is no dictionary {run.bin}/dict.{lang}.txt")
        with failure_in_one_line(f"loading {self.origin}"):
            import torch
            from fairseq.checkpoint_utils import load_model_ensemble
            from fairseq.tasks.translation import TranslationConfig, TranslationTask

            config = TranslationConfig(data=str(run.bin), source_lang=run.source, target_lang=run.target)
            self._task = TranslationTask.setup_task(config)
            paths = [str(path) for path in checkpoint.paths]
            self.models, _ = load_model_ensemble(paths, arg_overrides=WITHOUT_EMBEDDINGS, task=self._task)
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
