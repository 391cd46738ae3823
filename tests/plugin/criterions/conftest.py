"""The criterions under the contracts of every R-Drop criterion; a new one joins with one line in helpers.CASES."""

from types import SimpleNamespace

import pytest
from support.adaptive import WAYS
from support.contracts import SHAPES
from support.helpers import (
    CASES,
    build_criterion,
    build_model,
    build_task,
    make_sample,
)


@pytest.fixture(
    params=[(case, loss) for case in CASES for loss in case.losses],
    ids=lambda param: f"{param[0].name}-{param[1]}",
)
def setup(request):
    """Return the case, its task, a batch, and makers of models and criterions, with each way to compute the loss."""
    case, loss = request.param
    task = build_task(case.task)

    def model(**settings):
        return build_model(task, case.arch, **(case.model | settings))

    def criterion(**settings):
        return build_criterion(
            case.name, task, **(case.settings | case.own | {"rdrop_loss": loss, "rdrop_alpha": 5.0} | settings)
        )

    def parent(**settings):
        return build_criterion(case.parent, task, **(case.settings | settings))

    def sample(shape="three"):
        return make_sample(task, SHAPES[shape])

    def reference(*args, **kwargs):
        return case.reference(*args, **kwargs, **case.settings, **case.own)

    return SimpleNamespace(
        case=case, task=task, model=model, criterion=criterion, parent=parent, sample=sample, reference=reference
    )


@pytest.fixture
def float64(monkeypatch):
    """fairseq's log_softmax casts to float32: for comparisons in float64 it must not."""
    monkeypatch.setattr("fairseq.utils.log_softmax", lambda x, dim, onnx_trace=False: x.double().log_softmax(dim))


@pytest.fixture(params=WAYS)
def way(request):
    """Return the settings of one way to compute the loss with adaptive softmax."""
    return WAYS[request.param]
