"""fairseq-train in float16 on a CPU, as an entry point: fairseq calls ``.cuda()`` there after an overflow."""

import torch
from fairseq_cli.train import cli_main as train


def cli_main() -> None:
    torch.Tensor.cuda = lambda tensor, *args, **kwargs: tensor
    train()
