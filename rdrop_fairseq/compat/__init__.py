"""All that the plugin knows of fairseq's insides, so that another release of fairseq is a change in one place."""

import fairseq  # noqa: F401  (first: the plugin registers at its end, and imports what is here)
