"""All that the plugin knows of fairseq's insides, so that another release of fairseq is a change in one place."""
