#!/usr/bin/env bash
# Summarize the test sets of a run and score the summaries by ROUGE.
#
# Usage: scripts/evaluate_summarization.sh RUN... [--average N | --average-best N] [--beam N] [--lenpen X]
#            [--max-len-b N] [--min-len N] [--no-repeat-ngram-size N] [--out DIR]
#        scripts/evaluate_summarization.sh --checkpoint FILE --data BIN [...]
#
#   RUN               a run folder of scripts/train.sh. Several runs with the same dictionaries decode as one model, an
#                     ensemble, on the data and with the settings of the first
#   --average N       decode with the average of the last N checkpoints, not with the one that is best on validation
#   --average-best N  decode with the average of the N checkpoints that are best on validation
#   --beam N, --lenpen X, --max-len-b N, --min-len N, --no-repeat-ngram-size N
#                     the settings of fairseq's decoding. Without them they are those under generation: in the run's
#                     config, or else those of the paper for CNN/DailyMail: beam 4, length penalty 2, at most 140 tokens
#                     and at least 55, no three tokens twice
#   --checkpoint FILE --data BIN
#                     in place of RUN: a checkpoint of fairseq-train, or a folder of checkpoints, and its binarized data
#   --out DIR         write the results to DIR, in place of RUN
#
# The subwords are undone, and the plain text is scored. The command prints the F1 of ROUGE-1, ROUGE-2 and ROUGE-L (of
# the whole summary) with 95% confidence intervals and a signature, as ROUGE-1.5.5 does with the options of files2rouge.
# Where the data is characters (scripts/prepare_csl.sh), it prints ROUGE and BLEU by characters. docs/summarization.md
# says what is counted. Texts that are longer than the positions of the model are cut if task.truncate_source is set.
#
# The results are written to RUN/evaluation/best, average<N> or average_best<N>: summaries and references (.txt,
# .txt.ref0) and scores (.json). The settings that you give are added to the name of the folder. report.py,
# compare_runs.py and study.sh read the scores. All else is as in scripts/evaluate_translation.sh.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" evaluation.summarization fairseq sacremoses sacrebleu -- "$@"
