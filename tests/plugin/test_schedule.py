"""The weight of the divergence at each update, by hand."""

import dataclasses

import pytest

from rdrop_fairseq.schedule import AlphaSchedule


@pytest.mark.parametrize(
    "settings, expected",  # the weights at the first updates, num_updates = 0, 1, 2, ... finished ones
    [
        ({"alpha": 5.0}, [5, 5, 5, 5]),
        ({"alpha": 0.7}, [0.7, 0.7]),
        ({"alpha": 0.0}, [0, 0, 0]),
        ({"alpha": 5.0, "every": 2}, [0, 5, 0, 5, 0]),
        ({"alpha": 5.0, "every": 3}, [0, 0, 5, 0, 0, 5, 0]),
        ({"alpha": 5.0, "warmup_updates": 4}, [0, 1.25, 2.5, 3.75, 5, 5, 5]),
        ({"alpha": 5.0, "warmup_updates": 1}, [0, 5, 5]),
        ({"alpha": 0.0, "warmup_updates": 2}, [0, 0, 0, 0]),
        ({"alpha": 4.0, "every": 2, "warmup_updates": 4}, [0, 1, 0, 3, 0, 4, 0, 4]),  # the warm-up counts every update
        ({"alpha": 4.0, "every": 3, "warmup_updates": 2}, [0, 0, 4, 0, 0, 4]),
        ({"alpha": 4.0, "start_update": 2}, [0, 0, 4, 4]),
        ({"alpha": 4.0, "start_update": 2, "warmup_updates": 2}, [0, 0, 0, 2, 4, 4]),  # the warm-up counts from there
        ({"alpha": 4.0, "start_update": 3, "every": 2}, [0, 0, 0, 4, 0, 4]),
        ({"alpha": 4.0, "decay_updates": 4}, [4, 3, 2, 1, 0, 0]),
        ({"alpha": 4.0, "start_update": 1, "warmup_updates": 2, "decay_updates": 2}, [0, 0, 2, 4, 2, 0, 0]),
    ],
)
def test_table(settings, expected):
    schedule = AlphaSchedule(**settings)
    assert [schedule(num_updates) for num_updates in range(len(expected))] == pytest.approx(expected)


def test_far_into_training():
    schedule = AlphaSchedule(5.0, every=10, warmup_updates=1000)
    assert schedule(299_999) == 5.0
    assert schedule(300_000) == 0.0


def test_has_no_state_to_lose():
    """A function of the update alone, so that a resumed run sees the weights of an uninterrupted one."""
    schedule = AlphaSchedule(5.0, every=2, warmup_updates=4)
    assert [schedule(n) for n in (3, 1, 3)] == [3.75, 1.25, 3.75]
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.alpha = 1.0
