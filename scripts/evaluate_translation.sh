#!/usr/bin/env bash
# Decode the test sets of a translation run with its best checkpoint and score them.
#
# Usage: scripts/evaluate_translation.sh RUN [--average N] [--beam N] [--lenpen X]
#
#   RUN          run folder that scripts/train.sh made
#   --average N  decode with the mean of the last N checkpoints saved by update, not with the best on validation
#   --beam N     beam size (default: 5)
#   --lenpen X   length penalty (default: 1.0)
#
# Prints detokenized sacreBLEU and chrF with their signatures and tokenized BLEU as multi-bleu.perl counts it. Writes
# hypotheses (.tok, .txt) and scores (.json) to RUN/evaluation/best or RUN/evaluation/average<N>, anew each time.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

run= average= beam=5 lenpen=1.0
while [[ $# -gt 0 ]]; do
    case $1 in
        --average) take_positive average "$@"; shift ;;
        --beam) take_positive beam "$@"; shift ;;
        --lenpen) take lenpen "$@"; shift ;;
        -h | --help) usage && exit ;;
        -*) die "unknown option $1 (see --help)" ;;
        *) [[ -z $run ]] || die "two runs: $run and $1"
           run=$1 ;;
    esac
    shift
done
[[ -n $run ]] || die "no run given (see --help)"
[[ -f $run/train.yaml ]] || die "$run is no run folder of scripts/train.sh: it has no train.yaml"
[[ $lenpen =~ ^-?[0-9]+(\.[0-9]+)?$ ]] || die "--lenpen must be a number, not '$lenpen'"
find_python fairseq sacremoses sacrebleu
run=$(realpath -- "$run")
cd "$ROOT"

of_config='import sys; from omegaconf import OmegaConf; task = OmegaConf.load(sys.argv[1]).task
print(task.data, task.source_lang, task.target_lang)'
read -r bin src tgt < <("$PYTHON" -c "$of_config" "$run/train.yaml") || die "$run/train.yaml names no data or languages"
data=$(dirname "$bin")
[[ -f $data/testsets ]] || die "$data holds no prepared data (no file testsets)"

part=$run/.evaluation
rm -rf "$part"
mkdir "$part"
trap 'rm -rf "$part"' EXIT
if [[ -n $average ]]; then
    name=average$average checkpoint=$part/average.pt
    PYTHONPATH=$ROOT "$PYTHON" "$SCRIPTS/average_checkpoints.py" "$run/checkpoints" "$average" "$checkpoint"
else
    name=best checkpoint=$run/checkpoints/checkpoint_best.pt
fi
[[ -f $checkpoint ]] || die "there is no $checkpoint; has the run reached its first validation?"
"$PYTHON" -m zipfile -l "$checkpoint" >/dev/null 2>&1 || die "$checkpoint is cut short; --average N decodes without it"

# With another batch size multiple than 1 fairseq leaves out the sentences of the last, incomplete batch.
# fairseq-generate with its progress bar, but without a page of settings above it
generate='import logging; logging.disable(logging.INFO); from fairseq_cli.generate import cli_main; cli_main()'
subset=test number=0
while read -r testset; do
    echo "Decoding $testset"
    PYTHONWARNINGS=ignore "$PYTHON" -c "$generate" "$bin" --user-dir rdrop_fairseq --source-lang "$src" \
        --target-lang "$tgt" --gen-subset "$subset" --path "$checkpoint" --beam "$beam" --lenpen "$lenpen" \
        --max-tokens 4096 --required-batch-size-multiple 1 --remove-bpe --results-path "$part" ||
        die "decoding failed: $(tail -n 1 "$part/generate-$subset.txt" 2>/dev/null)"
    "$PYTHON" "$SCRIPTS/score.py" "$part/generate-$subset.txt" --lang "$tgt" --tokens "$data/tok/$testset.$tgt" \
        --text "$data/raw/$testset.$tgt" --out "$part/$testset"
    rm "$part/generate-$subset.txt"
    number=$((number + 1))
    subset=test$number
done <"$data/testsets"
rm -f "$part/average.pt"
mkdir -p "$run/evaluation"
rm -rf "$run/evaluation/$name"
mv "$part" "$run/evaluation/$name"
echo "Hypotheses and scores are in $run/evaluation/$name"
