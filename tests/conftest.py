"""Settings for all tests: one thread, the same hypothesis examples on every run."""

import hypothesis
import torch

torch.set_num_threads(1)
hypothesis.settings.register_profile("rdrop", derandomize=True, deadline=None, database=None, max_examples=50)
hypothesis.settings.load_profile("rdrop")
