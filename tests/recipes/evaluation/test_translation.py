"""scripts/evaluate_translation.sh: the scores, what is written, several evaluations at once, one that is ended."""

import hashlib
import json
import signal
from pathlib import Path

import pytest
import torch
from recipes.data import prepared
from recipes.evaluation import average, checkpoint_choice, decoding, translation
from recipes.files import read_lines
from recipes.training.run_folder import RunFolder
from support import command_line
from support.in_process import call, printed
from support.learned_run import GENERATION, contents, fairseq_hypotheses, tree
from support.toy_run import refused, run
from support.waiting import wait_until

import rdrop_fairseq  # noqa: F401  (makes fairseq's checkpoints loadable)

FILES = {
    f"{name}.{suffix}" for name in ("made_up", "another") for suffix in ("json", "tok", "tok.ref0", "txt", "txt.ref0")
}


@pytest.fixture(scope="module")
def scored(learned: Path) -> str:
    """Return what evaluate_translation.sh printed of the run."""
    result = run("evaluate_translation.sh", learned)
    assert result.returncode == 0 and result.stderr == "", result.stdout + result.stderr
    return result.stdout


def test_scores_are_printed_and_written_and_the_same_when_run_twice(learned, scored):
    folder = learned / "evaluation/best"
    texts = contents(folder)
    assert texts.keys() == FILES
    assert texts["made_up.txt"].count(b"\n") == 9  # all, though fairseq leaves out what does not fill a batch of 8
    assert texts["made_up.txt.ref0"] == (learned.parent / "data/raw/made_up.en").read_bytes()
    result = json.loads(texts["another.json"])
    assert result["bleu"] > 10 and result["decoding"] == GENERATION and result["checkpoint"] == "best"
    best = learned / "checkpoints/checkpoint_best.pt"
    assert result["checkpoint_sha256"] == hashlib.sha256(best.read_bytes()).hexdigest()
    assert 0 < result["updates"] <= 165 and result["scored_as_empty"] == 0
    lines = scored[scored.index("another (10 sentences)") :].splitlines()[1:5]
    assert lines[0].split() == ["sacreBLEU", f"{result['bleu']:.2f}", result["bleu_signature"]]
    assert lines[1].split(maxsplit=1) == ["multi-bleu", result["tokenized_bleu_line"]]
    assert lines[2].endswith(f"  {result['compound_split_bleu_line']}")
    assert lines[3].split() == ["chrF", f"{result['chrf']:.2f}", result["chrf_signature"]]
    before = tree(learned.parent)
    assert printed(translation.main, learned) == scored
    assert tree(learned.parent) == before


def test_options_go_before_the_config_and_leave_the_recipes_scores_alone(learned, scored):
    before = tree(learned.parent)
    printed(translation.main, learned, "--beam", 1, "--lenpen", 2)
    added = tree(learned.parent).items() - before.items()
    assert {path for path, _ in added} == {f"run/evaluation/best_beam1_lenpen2/{file}" for file in FILES}
    assert before.items() <= tree(learned.parent).items()
    result = json.loads((learned / "evaluation/best_beam1_lenpen2/made_up.json").read_text())
    assert result["decoding"] == GENERATION | {"beam": 1, "lenpen": 2.0}
    expected = fairseq_hypotheses(learned, "test", "--beam", 1, "--lenpen", 2, "--max-len-a", 1.5, "--max-len-b", 3)
    assert read_lines(learned / "evaluation/best_beam1_lenpen2/made_up.tok") == [s[0].text for s in expected]


def test_averages_are_decoded_and_not_kept(learned):
    checkpoints = sorted(learned.rglob("*.pt"))
    for options, name in ((["--average", 2], "average2"), (["--average-best", 2], "average_best2")):
        printed(translation.main, learned, *options)
        assert contents(learned / "evaluation" / name).keys() == FILES
        assert json.loads((learned / f"evaluation/{name}/made_up.json").read_text())["checkpoint"] == name
    assert (learned / "evaluation/average2/another.tok").read_bytes() != b"\n" * 10
    assert sorted(learned.rglob("*.pt")) == checkpoints


@pytest.fixture
def evaluated(changed, monkeypatch):
    """Return a function that scores hypotheses of made_up as those of the run: (tokens, settings of the data, ...)."""

    def evaluate(
        tokens: list[str], raw: list[list[str]], tok: list[list[str]], settings: dict, lang: str = "en"
    ) -> dict:
        data = changed.parent / "data"
        (data / "testsets").unlink()
        prepared.Prepared(**{"script": "prepare_x", "options": {}, "testsets": ["made_up"], **settings}).write(data)
        for kind, texts in (("raw", raw), ("tok", tok)):
            for path in (data / kind).glob("made_up.*"):
                path.unlink()
            for suffix, lines in zip(("", "0", "1"), texts, strict=False):
                (data / kind / f"made_up.{lang}{suffix}").write_text("".join(f"{line}\n" for line in lines))
        config = (changed / "train.yaml").read_text()
        (changed / "train.yaml").write_text(config.replace("target_lang: en", f"target_lang: {lang}"))
        decoded = [[decoding.Hypothesis(line, -1.0, 9)] for line in tokens]
        monkeypatch.setattr(decoding, "generate", lambda *_: decoded)
        monkeypatch.setattr(decoding.Run, "testsets", ["made_up"])
        unused = checkpoint_choice.Checkpoint((Path("unused.pt"),), "unused", "best", {}, (9, 9))
        translation.evaluate(decoding.read_run(RunFolder(changed)), unused, {"beam": 5}, changed / "evaluation/best")
        return json.loads((changed / "evaluation/best/made_up.json").read_text())

    return evaluate


def test_lower_cased_and_escaped_data(evaluated, changed):
    result = evaluated(
        ["it &apos;s a well-known &quot; fact &quot; ."],
        [['It\'s a well-known "fact".']],
        [["it &apos;s a well-known &quot; fact &quot; ."]],
        {"lowercase": True, "escaped": True},
    )
    assert [result["bleu"], result["chrf"]] == pytest.approx([100, 100]) and "case:lc" in result["bleu_signature"]
    assert "hyp_len=8" in result["tokenized_bleu_line"] and "hyp_len=10" in result["compound_split_bleu_line"]
    assert read_lines(changed / "evaluation/best/made_up.txt") == ['it\'s a well-known "fact".']


def test_data_that_is_neither_lower_cased_nor_escaped(evaluated, changed):
    result = evaluated(["it &apos;s so"], [["It&apos;s so"]], [["It &apos;s so"]], {})
    assert "case:mixed" in result["bleu_signature"]
    assert read_lines(changed / "evaluation/best/made_up.txt") == ["it &apos;s so"]


def test_chinese_is_joined_and_scored_by_character(evaluated, changed):
    result = evaluated(["我 爱 北京 天安门 。"], [["我爱北京天安门。"]], [["我 爱 北京天安门 。"]], {}, "zh")
    assert "tok:zh" in result["bleu_signature"] and result["bleu"] == pytest.approx(100)
    assert read_lines(changed / "evaluation/best/made_up.txt") == ["我爱北京天安门。"]


def test_japanese_that_is_right_scores_100(evaluated, changed):
    text, tokens = "東京に行く人は多いです。", "東京 に 行く 人 は 多い です 。"
    result = evaluated([tokens], [[text]], [[tokens]], {}, "ja")
    assert "tok:ja-mecab" in result["bleu_signature"]
    assert [result["bleu"], result["tokenized_bleu"]] == pytest.approx([100, 100])


def test_pieces_of_sentencepiece_are_text_and_become_tokens(evaluated, changed):
    """Whatever the config says of subwords."""
    options = {"options": {"subwords": "sentencepiece"}}
    result = evaluated(["A dog, he said."], [["A dog, he said."]], [["A dog , he said ."]], options)
    assert [result["bleu"], result["tokenized_bleu"]] == pytest.approx([100, 100])
    assert read_lines(changed / "evaluation/best/made_up.tok") == ["A dog , he said ."]
    assert decoding.read_run(RunFolder(changed)).post_process == "sentencepiece"


def test_tokens_that_were_given_are_scored_as_plain_text(evaluated, changed):
    options = {"options": {"tokenized": True}, "escaped": True}
    given = "it &apos;s so , he said ."
    result = evaluated([given], [[given]], [[given]], options)
    assert [result["bleu"], result["tokenized_bleu"]] == pytest.approx([100, 100])
    for name in ("made_up.txt", "made_up.txt.ref0"):
        assert read_lines(changed / f"evaluation/best/{name}") == ["it's so, he said."]


def test_several_references(evaluated, changed):
    texts = [["a b c d e"], ["a b c x e f g"], ["p q"]]
    result = evaluated(["a b c d e f"], texts, texts, {})
    # 5 and 7 are equally near to 6: the shorter; all six words, abcd and de, ef are in a reference
    assert (
        "hyp_len=6, ref_len=5" in result["tokenized_bleu_line"]
        and " 100.0/100.0/75.0/" in result["tokenized_bleu_line"]
    )
    assert result["bleu_signature"].startswith("nrefs:3|")
    assert [read_lines(changed / f"evaluation/best/made_up.tok.ref{number}") for number in range(3)] == texts


def started(run_folder: Path, *options: object) -> command_line.Running:
    """Return an evaluation that has begun to write."""
    known = set(run_folder.glob("evaluation/.*.part/new"))
    entry = ("support.script_entry", "recipes.evaluation.translation")
    running = command_line.start(*entry, run_folder, *options)
    wait_until(lambda: set(run_folder.glob("evaluation/.*.part/new")) - known, running.process.is_alive)
    return running


def test_an_evaluation_that_is_told_to_end_leaves_the_former_one_and_nothing_else(learned, scored):
    before = tree(learned.parent)
    running = started(learned, "--average-best", 2)
    running.process.terminate()
    result = running.result()
    assert result.status == 128 + signal.SIGTERM and result.stderr.endswith(": interrupted\n")
    assert tree(learned.parent) == before
    assert not list(learned.rglob(".*"))


def test_several_evaluations_at_once_after_one_that_was_killed(learned, scored):
    before = tree(learned.parent)
    killed = started(learned)
    killed.process.kill()
    killed.result()
    (left,) = learned.glob("evaluation/.best.*.part")
    assert before.items() <= tree(learned.parent).items()
    both = [started(learned), started(learned)]
    assert not left.exists()
    for result in (running.result() for running in both):
        assert result.status == 0 and result.stdout == scored, result.stderr
    assert tree(learned.parent) == before
    assert not list(learned.rglob(".*"))


def test_the_average_that_is_decoded_is_that_of_the_last_checkpoints(learned, tmp_path):
    assert call(average.main, learned / "checkpoints", tmp_path / "mean.pt", "--last", 2).status == 0
    names = sorted(learned.glob("checkpoints/checkpoint_*_*.pt"), key=lambda path: int(path.stem.split("_")[-1]))
    one, two, mean = (torch.load(path, weights_only=True)["model"] for path in (*names[-2:], tmp_path / "mean.pt"))
    key = "encoder.layers.0.fc1.weight"
    torch.testing.assert_close(mean[key], (one[key] + two[key]) / 2)
    assert not torch.equal(one[key], two[key])


def test_what_the_script_refuses(learned, tmp_path):
    assert "RUN" in refused("evaluate_translation.sh")
    assert "no run folder" in refused("evaluate_translation.sh", tmp_path)
    assert run("evaluate_translation.sh", "--help").stdout.startswith("Decode the test sets")


def test_data_of_an_earlier_version_of_the_recipes(evaluated, changed):
    """Its settings are lines of a text, not settings.json."""
    evaluated(["it &apos;s so"], [["It's so"]], [["it &apos;s so"]], {})
    data = changed.parent / "data"
    (data / "settings.json").unlink()
    (data / "settings").write_text("bpe: 10000\nlowercase: yes\nescaped: yes\n")
    (data / "testsets").write_text("made_up\n")
    read = decoding.read_run(RunFolder(changed)).prepared
    assert (read.testsets, read.lowercase, read.escaped) == (["made_up"], True, True)
