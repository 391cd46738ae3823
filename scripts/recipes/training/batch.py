"""The batch of an update: how large a recipe makes it, and how processes share it."""

import math
import sys
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from recipes.training.settings import setting

SIZES = ("dataset.max_tokens", "dataset.batch_size")  # the settings that limit a batch on one GPU
MOST = 10**12  # tokens or sentences in an update


@dataclass(frozen=True)
class Batch:
    """What a recipe puts into one update, and the size of a batch on one GPU that the command line asks for."""

    gpus: int  # of the recipe
    update_freq: list[int]  # of the recipe, by epoch
    key: str  # the one of SIZES that the recipe sets
    size: int  # the recipe's, in tokens or sentences
    asked: int  # the one that is asked for; the recipe's if none is

    @property
    def units(self) -> int:
        """How many tokens or sentences the processes share; if update_freq differs by epoch, the common divisor."""
        return self.gpus * math.gcd(*self.update_freq) * self.size

    def check(self) -> None:
        """Exit if batches of the asked size cannot make the update."""
        if self.units % self.asked:
            allowed = [size for size in divisors(self.units) if size <= self.size][-8:]
            sys.exit(
                f"{self.key}={self.asked} does not divide the recipe's batch of {self}; use {one_of(allowed)}, or give "
                "optimization.update_freq too to train with another batch"
            )

    def processes(self) -> list[int]:
        """Return all numbers of processes that can share the update."""
        return divisors(self.units // self.asked)

    def update_freq_on(self, processes: int) -> list[int]:
        """Return the update_freq with which this number of processes makes the recipe's updates."""
        return [self.gpus * freq * self.size // (self.asked * processes) for freq in self.update_freq]

    def smaller(self, processes: int) -> int | None:
        """Return the greatest size, at most half of the asked one, with which the processes can make the updates."""
        return max((size for size in divisors(self.units // processes) if size <= self.asked // 2), default=None)

    def __str__(self) -> str:
        return self.words(self.gpus, self.update_freq, self.size)

    def on(self, processes: int) -> str:
        """Say how this number of processes makes the update."""
        return self.words(processes, self.update_freq_on(processes), self.asked)

    def words(self, processes: int, update_freq: list[int], size: int) -> str:
        """Return a batch as a text like "8 processes x update_freq 16 x max_tokens 4096"."""
        unit = "process" if processes == 1 else "processes"
        return f"{processes} {unit} x update_freq {update_freq[0]} x {self.key.split('.')[1]} {size}"


def find_batch(recipe: DictConfig, asked: Any = None) -> Batch:
    """Return the batch of a recipe, with the size that is asked for. Exit if its numbers are not possible."""
    key = size_key(recipe)
    if key is None:
        sys.exit(f"the size of a batch on one GPU is missing: set {' or '.join(SIZES)}")
    size: Any = setting(recipe, key)
    asked = size if asked is None else asked
    gpus: Any = setting(recipe, "distributed_training.distributed_world_size", 1)
    freq: Any = setting(recipe, "optimization.update_freq", [1])
    freq = freq if isinstance(freq, list) else [freq]
    if not freq:
        sys.exit("optimization.update_freq=[]: must be a list of positive integers, one for each epoch")
    values = [(key, size), (key, asked), ("distributed_training.distributed_world_size", gpus)]
    for name, value in values + [("optimization.update_freq", value) for value in freq]:
        if type(value) is not int or value < 1:
            sys.exit(f"{name}={value}: must be a positive integer")
    batch = Batch(gpus, freq, key, size, asked)
    if gpus * max(freq) * max(size, asked) > MOST:
        sys.exit(f"an update of {batch.words(gpus, [max(freq)], max(size, asked))} holds more than {MOST}; use less")
    return batch


def size_key(recipe: DictConfig) -> str | None:
    """Return the one of SIZES that a recipe sets, None if it sets none."""
    return next((key for key in SIZES if setting(recipe, key) is not None), None)


def divisors(number: int) -> list[int]:
    """Return the divisors of a number in ascending order."""
    small = [divisor for divisor in range(1, math.isqrt(number) + 1) if number % divisor == 0]
    return sorted({*small, *(number // divisor for divisor in small)})


def one_of(numbers: list[int]) -> str:
    """Return numbers as a text to choose from, like "1, 2 or 4"."""
    *others, last = map(str, numbers)
    return f"{', '.join(others)} or {last}" if others else last
