"""How a recipe's batch is shared."""

import pytest
from omegaconf import OmegaConf
from recipes.training.batch import Batch, find_batch

WMT = Batch(gpus=8, update_freq=[16], key="dataset.max_tokens", size=4096, asked=4096)
IWSLT = Batch(1, [1], "dataset.max_tokens", 4096, 4096)


@pytest.mark.parametrize(
    "batch, processes, update_freq",
    [
        (WMT, 8, [16]),
        (WMT, 1, [128]),
        (WMT, 2, [64]),
        (WMT, 128, [1]),
        (Batch(8, [16], "dataset.max_tokens", 4096, 2048), 8, [32]),
        (Batch(8, [16], "dataset.max_tokens", 4096, 8192), 4, [16]),
        (Batch(1, [1], "dataset.max_tokens", 4096, 512), 8, [1]),
        (Batch(2, [4, 6], "dataset.batch_size", 30, 10), 4, [6, 9]),
        (Batch(1, [3], "dataset.batch_size", 1, 1), 3, [1]),
    ],
)
def test_update_freq_keeps_the_batch(batch, processes, update_freq):
    batch.check()
    assert processes in batch.processes()
    assert batch.update_freq_on(processes) == update_freq
    for freq, of_recipe in zip(update_freq, batch.update_freq, strict=True):
        assert processes * freq * batch.asked == batch.gpus * of_recipe * batch.size


def test_the_smaller_size_that_out_of_memory_names_keeps_the_batch():
    assert WMT.smaller(8) == 2048
    assert IWSLT.smaller(1) == 2048
    assert Batch(1, [1], "dataset.max_tokens", 4096, 512).smaller(8) == 256
    assert Batch(1, [1], "dataset.batch_size", 15, 15).smaller(1) == 5
    assert Batch(1, [1], "dataset.batch_size", 4, 1).smaller(1) is None


def test_a_size_that_does_not_divide_the_batch_is_refused_with_those_that_do():
    with pytest.raises(SystemExit, match=r"dataset.max_tokens=3000 .* use 32, 64, 128, 256, 512, 1024, 2048 or 4096"):
        Batch(1, [1], "dataset.max_tokens", 4096, 3000).check()


@pytest.mark.parametrize(
    "recipe, batch",
    [
        ({"dataset": {"batch_size": 4}}, Batch(1, [1], "dataset.batch_size", 4, 4)),
        (
            {
                "dataset": {"batch_size": 4, "max_tokens": 64},
                "optimization": {"update_freq": [2, 1]},
                "distributed_training": {"distributed_world_size": 8},
            },
            Batch(8, [2, 1], "dataset.max_tokens", 64, 64),
        ),
    ],
)
def test_the_batch_of_a_recipe(recipe, batch):
    assert find_batch(OmegaConf.create(recipe)) == batch


def test_a_recipe_without_a_size_is_refused():
    with pytest.raises(SystemExit, match=r"is missing: set dataset.max_tokens or dataset.batch_size"):
        find_batch(OmegaConf.create({}))


def test_a_batch_of_too_many_tokens_is_refused_at_once():
    recipe = {"dataset": {"max_tokens": 4096}, "optimization": {"update_freq": [1, 12345678901234567890]}}
    with pytest.raises(SystemExit, match="update_freq 12345678901234567890 x max_tokens 4096 holds more than 10000"):
        find_batch(OmegaConf.create(recipe))


@pytest.mark.parametrize("asked", [0, -1, "many", 1.5, True])
def test_a_size_that_is_no_positive_integer_is_refused(asked):
    with pytest.raises(SystemExit, match=f"dataset.max_tokens={asked}: must be a positive integer"):
        find_batch(OmegaConf.create({"dataset": {"max_tokens": 4096}}), asked)
