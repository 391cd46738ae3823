"""What translates lines of subwords: the models of fairseq's checkpoints, or a model that was exported."""

from typing import Any, Protocol

from recipes.evaluation.decoding import Hypothesis


class Engine(Protocol):
    """A model, or several that decode together."""

    longest: int  # how many subwords a source line may have, with the end of sentence

    def translate(self, lines: list[str], how: dict[str, Any], nbest: int) -> list[list[Hypothesis]]:
        """Return the hypotheses of each line, `nbest` of them, the best first. Their texts are lines of subwords.

        Args:
            lines: subwords, separated by spaces; no line is empty, and none has more than `longest` subwords.
            how: settings of fairseq's GenerationConfig by name, as `decoding_of` returns them.
        """
        ...
