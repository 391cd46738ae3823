"""The scores that tell how good a run is, by the names that fairseq and the evaluations give them."""

# Of predictions about sentences, in percent. A run has those that its criterion reports; the first one counts.
OF_SENTENCES = {
    "mcc": "Matthews",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "accuracy": "accuracy",
    "f1": "F1",
}
# Of summaries, all of which count.
OF_SUMMARIES = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "character_bleu": "character BLEU"}
# On the validation set, and on test sets: the first of them that a run has counts.
ON_VALIDATION = {"bleu": "BLEU", **OF_SENTENCES, "ppl": "perplexity"}
TRAINING_LOSS = "train_nll_loss"  # the negative log-likelihood of training since the validation before, in bits
ON_TESTS = {"bleu": "sacreBLEU", "perplexity": "perplexity", **OF_SENTENCES}
