"""docs/api.md: its examples run, and those that say what they equal do equal it."""

from dataclasses import dataclass

import torch
from support.documents import blocks_of
from support.places import ROOT

from rdrop_fairseq import rdrop_loss


@dataclass
class Output:
    """What a model of Hugging Face's returns."""

    logits: torch.Tensor


class Classifier(torch.nn.Embedding):
    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Output:
        assert input_ids.shape == attention_mask.shape
        return Output(super().forward(input_ids).mean(1))


def network(inside: int) -> torch.nn.Sequential:
    return torch.nn.Sequential(torch.nn.Linear(4, inside), torch.nn.Dropout(0.3))


def test_rdrop_in_any_pytorch_loop() -> None:
    """Run the blocks of docs/api.md, and check those that say what they equal."""
    torch.manual_seed(1)
    model, x, y = network(5), torch.randn(6, 4), torch.randint(5, (6,))
    names = {
        "model": model,
        "x": x,
        "y": y,
        "alpha": 5.0,
        "pad": 1,
        "outputs": torch.randn(12, 5),
        "batches": [(x, y)] * 3,
        "optimizer": torch.optim.SGD(model.parameters(), 0.1),
        "segmenter": torch.nn.Conv2d(3, 5, 1),
        "images": torch.randn(6, 3, 4, 2),
        "labels": torch.randint(5, (6, 4, 2)),
        "labels_01": torch.randint(2, (6, 5)),
        "numbers": torch.randn(6, 5),
        "probabilities": torch.randn(6, 5).softmax(-1),
        "unlabelled": torch.randn(3, 4),
        **{kind: type(kind, (torch.nn.Module,), {}) for kind in ("DropPath", "LayerDrop")},
    }
    words = {"x": torch.randn(6, 3, 4), "y": torch.randint(9, (6, 3)), "decoder": network(7)}
    changed = {
        "linear_rdrop_loss(": words | {"projection": torch.nn.Linear(7, 9)},
        "input_ids": {"classifier": Classifier(9, 5), "x": torch.randint(9, (6, 3)), "y": y},
    }
    weights = [parameter.clone() for parameter in model.parameters()]
    seen = []
    for block in blocks_of(ROOT / "docs/api.md"):
        for word, change in changed.items():
            names |= change if word in block else {}
        names["loss"] = torch.zeros(())
        exec(compile(block, "api.md", "exec"), names)
        assert names["loss"].isfinite() and names["loss"].dim() == 0
        given = [names[name] for name in ("outputs", "y", "alpha")]
        if "F.cross_entropy(first" in block:
            seen.append((names["loss"], rdrop_loss(*given)))
            seen.append((names["kl"].mean(), rdrop_loss(given[0], None, 1.0)))
        elif "linear_rdrop_loss(" in block:
            logits = names["projection"](names["hidden"])
            seen.append((names["loss"], rdrop_loss(logits, *given[1:], ignore_index=names["pad"])))
    assert len(seen) == 3
    for actual, expected in seen:
        torch.testing.assert_close(actual, expected)
    assert not torch.equal(weights[0], model[0].weight)  # the loop of the first block has trained
    assert names["alpha"] == 1.25
