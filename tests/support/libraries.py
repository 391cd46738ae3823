"""Import the libraries of the examples also where torchvision or torchaudio was built for another PyTorch."""

import importlib
import sys
from unittest import mock

import torch


def import_what_is_there() -> None:
    """Make torchvision importable, and hide torchaudio, where their compiled parts do not load.

    PyPI's builds need CUDA's libraries and say so at the first import, beside a PyTorch for the CPU alone. The examples
    use nothing of them, but timm imports torchvision, and transformers imports whatever it finds of both.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:  # it describes operators that are missing
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        with mock.patch.object(torch.library, "register_fake", lambda *_, **__: lambda function: function):
            importlib.import_module("torchvision")
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
            del sys.modules[name]
        sys.modules["torchaudio"] = None  # type: ignore[assignment]  # then find_spec finds none
        if found := sys.modules.get("transformers.utils.import_utils"):
            found.is_torchaudio_available.cache_clear()  # a test may have asked transformers before
