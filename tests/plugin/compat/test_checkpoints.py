"""What fairseq's checkpoints hold loads with torch's weights_only; anything else is refused and not run."""

import argparse
import fractions
import io
import os

import numpy
import pytest
import torch

import rdrop_fairseq  # noqa: F401  (importing it extends torch's list)

NUMPY_1, NUMPY_2 = b"cnumpy.core.multiarray\n", b"cnumpy._core.multiarray\n"


def saved(content, numpy_module=None):
    """``content`` as torch saves it, with numpy's functions under the module name of numpy 1 or 2 if asked for."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=numpy_module is None)
    data = buffer.getvalue()
    if numpy_module:
        assert NUMPY_1 in data or NUMPY_2 in data
        data = data.replace(NUMPY_1, numpy_module).replace(NUMPY_2, numpy_module)
    return io.BytesIO(data)


def loaded(file):
    return torch.load(file, weights_only=True)


def checkpoint():
    return {
        "args": argparse.Namespace(arch="transformer", lr=[5e-4], rdrop_alpha=5.0),
        "cfg": {"criterion": {"_name": "rdrop_label_smoothed_cross_entropy", "rdrop_dropouts": None}},
        "model": {"weight": torch.ones(2, 3)},
        "extra_state": {
            "val_loss": numpy.float64(3.25),
            "best": numpy.float32(0.5),
            "count": numpy.int64(7),
            "done": numpy.bool_(True),
            "_bleu_counts": numpy.array([4, 3, 2, 1]),
            "_bleu_totals": numpy.array([4.5, 3.5]),
        },
    }


@pytest.mark.parametrize("numpy_module", [None, NUMPY_1, NUMPY_2])
def test_a_fairseq_checkpoint_loads(numpy_module):
    actual = loaded(saved(checkpoint(), numpy_module))
    expected = checkpoint()
    assert actual["args"] == expected["args"] and isinstance(actual["args"], argparse.Namespace)
    assert actual["cfg"] == expected["cfg"]
    assert torch.equal(actual["model"]["weight"], expected["model"]["weight"])
    for name, value in expected["extra_state"].items():
        assert type(actual["extra_state"][name]) is type(value), name
        numpy.testing.assert_array_equal(actual["extra_state"][name], value)


def test_the_list_is_what_makes_it_load():
    """Without it torch refuses: then the list, or this test, can go."""
    listed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        with pytest.raises(Exception, match="Weights only load failed"):
            loaded(saved(checkpoint()))
    finally:
        torch.serialization.add_safe_globals(listed)
    loaded(saved(checkpoint()))


class Evil:
    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    "hide",
    [
        lambda evil: evil,
        lambda evil: {"model": {}, "args": argparse.Namespace(hook=evil)},
        lambda evil: {"extra_state": {"loss": numpy.array([evil], dtype=object)}},
    ],
)
@pytest.mark.parametrize("function, code", [(os.system, "touch was-run"), (exec, "open('was-run', 'w')")], ids=str)
def test_a_malicious_checkpoint_is_refused_and_not_run(hide, function, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trace = tmp_path / "was-run"
    content = hide(Evil(function, (code,)))
    with pytest.raises(Exception, match="Weights only load failed"):
        loaded(saved(content))
    assert not trace.exists()
    torch.load(saved(content), weights_only=False)
    assert trace.exists()  # so that the content is seen to be malicious


@pytest.mark.parametrize("content", [fractions.Fraction(1, 2), {"f": numpy.load}, numpy.array(["a"]), print])
def test_anything_else_is_refused(content):
    with pytest.raises(Exception, match="Weights only load failed"):
        loaded(saved(content))
