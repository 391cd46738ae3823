"""scripts/sweep_decoding.sh: one pass serves all length penalties, validation chooses, the choice is tested."""

import json
from pathlib import Path

import pytest
from recipes.evaluation import decoding, sweep
from recipes.evaluation.score import multi_bleu, multi_bleu_line
from recipes.files import read_lines
from recipes.training.run_folder import RunFolder
from support.in_process import printed, refused
from support.learned_run import chosen, contents, tree

LENPENS = (-1.0, 0.0, 0.6, 1.0, 3.0)


def decoded(run_folder: Path, subset: str, folder: Path, **changes: float) -> list[list[decoding.Hypothesis]]:
    """Return what fairseq-generate gives for a text of the run, with changes to the run's settings."""
    read = decoding.read_run(RunFolder(run_folder))
    with chosen(run_folder) as checkpoint:
        return decoding.generate(read, checkpoint, subset, decoding.decoding_of(read) | changes, folder)


@pytest.mark.parametrize("beam", [2, 5])
def test_one_pass_reranked_equals_decoding_again_with_each_length_penalty(learned, tmp_path, beam):
    once = decoded(learned, "valid", tmp_path, beam=beam, lenpen=0, nbest=beam)
    assert all(1 <= len(sentence) <= beam for sentence in once)
    found = {}
    for lenpen in LENPENS:
        again = [sentence[0].text for sentence in decoded(learned, "valid", tmp_path, beam=beam, lenpen=lenpen)]
        found[lenpen] = [decoding.rerank(sentence, lenpen).text for sentence in once]
        assert found[lenpen] == again
    assert found[-1.0] != found[1.0] != found[3.0]


def test_validation_chooses_and_the_choice_is_tested(learned, tmp_path):
    before = tree(learned.parent)
    text = printed(sweep.main, learned, "--beams", "1,4", "--lenpens", "0,3")
    swept = json.loads((learned / "sweep/best/valid.json").read_text())
    assert [(row["beam"], row["lenpen"]) for row in swept["tried"]] == [(b, x) for b in (1, 4) for x in (0, 3)]
    best = max(swept["tried"], key=lambda row: row["bleu"])
    assert swept["chosen"] == best and best["bleu"] > min(row["bleu"] for row in swept["tried"])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[0] == "|"]
    chosen = [row for row in rows if row[-1] == "chosen"]
    assert chosen == [[str(best["beam"]), f"{best['lenpen']:g}", best["line"].removeprefix("BLEU = "), "chosen"]]
    folder = learned / f"evaluation/best_beam{best['beam']}_lenpen{best['lenpen']:g}"
    assert swept["checkpoint"] == "best" and 0 < swept["updates"] <= 165 and len(swept["checkpoint_sha256"]) == 64
    added = {f"{folder.relative_to(learned.parent)}/{name}" for name in contents(folder)}
    after = tree(learned.parent)
    assert before.items() <= after.items() and after.keys() - before.keys() == added | {"run/sweep/best/valid.json"}
    assert printed(sweep.main, learned, "--beams", "1,4", "--lenpens", "0,3") == text
    assert tree(learned.parent) == after
    # made_up is the validation set: decoded again with a setting, it gets the score that the sweep gave
    references = [read_lines(learned.parent / "data/tok/made_up.en")]
    for row in swept["tried"]:
        found = decoded(learned, "test", tmp_path, beam=row["beam"], lenpen=row["lenpen"])
        line = multi_bleu_line(multi_bleu([sentence[0].text for sentence in found], references))
        assert line == row["line"]
    assert json.loads((folder / "made_up.json").read_text())["tokenized_bleu_line"] == best["line"]


def test_the_penalty_divides_by_a_power_of_the_length():
    short, long = decoding.Hypothesis("short", -2.0, 2), decoding.Hypothesis("long", -3.0, 6)
    assert decoding.rerank([short, long], 0) is short
    assert decoding.rerank([short, long], 1) is long
    # -2 / 2^x = -3 / 6^x where 3^x = 1.5, x = 0.369
    assert decoding.rerank([short, long], 0.36) is short and decoding.rerank([short, long], 0.38) is long
    assert decoding.rerank([long, short], 0.36) is short


@pytest.mark.parametrize(
    "options, words",
    [
        (["--beams", "4,0"], "--beams: must be a positive integer, not '0'"),
        (["--beams", ""], "--beams: must be a positive integer, not ''"),
        (["--lenpens", "1,,2"], "--lenpens: must be a number from -50 to 50, not ''"),
        (["--lenpens", "0.6,1e308"], "--lenpens: must be a number from -50 to 50, not '1e308'"),
        (["--beams", "5," + "4" * 5000], "--beams: must be an integer up to 2147483647, not '4444"),
        (["--beam", "4"], "unrecognized arguments: --beam 4"),
        (["--average", "30"], "not 30"),
    ],
)
def test_options_that_are_refused(learned, options, words):
    assert words in refused(sweep.main, learned, *options)
    assert not list(learned.rglob(".*"))


def test_a_run_without_a_validation_reference_or_with_unnormalized_scores_is_refused(learned, tmp_path):
    reference = learned.parent / "data/tok/valid.en"
    hidden = reference.rename(tmp_path / "valid.en")
    try:
        assert "there is no reference" in refused(sweep.main, learned)
    finally:
        hidden.rename(reference)
    (tmp_path / "train.yaml").write_text((learned / "train.yaml").read_text().replace("beam: 3", "unnormalized: true"))
    assert "generation.unnormalized" in refused(sweep.main, tmp_path)
