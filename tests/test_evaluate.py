"""scripts/evaluate_translation.sh: decoding as the run's config says, the scores, what is written, what is refused."""

import json
import shutil
import sys
from pathlib import Path

import command_line
import pytest
import torch
from learned_run import contents, fairseq_hypotheses, tool, tool_refused, train_learned
from toy_run import refused, run
from waiting import wait_until

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
import decoding
import evaluate_translation
from score import read_lines

GENERATION = {"beam": 3, "lenpen": 0.6, "max_len_a": 1.5, "max_len_b": 3}
EVALUATE = "evaluate_translation"
FILES = {
    f"{name}.{suffix}" for name in ("made_up", "another") for suffix in ("json", "tok", "tok.ref0", "txt", "txt.ref0")
}


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with checkpoints by update, by epoch, and the two best."""
    return train_learned(
        tmp_path_factory.mktemp("learned"),
        checkpoint={"keep_best_checkpoints": 2, "save_interval_updates": 33, "no_epoch_checkpoints": False}
        | {"save_interval": 12},
        dataset={"batch_size": 9, "validate_interval_updates": 33},
        optimization={"max_update": 165, "lr": [0.02]},
        generation=GENERATION,
    )


@pytest.fixture(scope="module")
def scored(learned: Path) -> str:
    """What evaluate_translation.sh printed of the run."""
    result = run("evaluate_translation.sh", learned)
    assert result.returncode == 0 and result.stderr == "", result.stdout + result.stderr
    return result.stdout


@pytest.fixture
def changed(learned: Path, tmp_path: Path) -> Path:
    """A copy of the run and its data, to be spoiled: its run folder."""
    shutil.copytree(learned.parent / "data", tmp_path / "data")
    copy = shutil.copytree(learned, tmp_path / "run", ignore=shutil.ignore_patterns("evaluation"))
    config = (copy / "train.yaml").read_text()
    (copy / "train.yaml").write_text(config.replace(str(learned.parent / "data"), str(tmp_path / "data")))
    return copy


def test_scores_are_printed_and_written_and_the_same_when_run_twice(learned, scored):
    folder = learned / "evaluation/best"
    texts = contents(folder)
    assert texts.keys() == FILES
    assert texts["made_up.txt"].count(b"\n") == 9  # all, though fairseq leaves out what does not fill a batch of 8
    assert texts["made_up.txt.ref0"] == (learned.parent / "data/raw/made_up.en").read_bytes()
    result = json.loads(texts["another.json"])
    assert result["bleu"] > 10 and result["decoding"] == GENERATION and result["checkpoint"] == "best"
    printed = scored[scored.index("another (10 sentences)") :].splitlines()[1:5]
    assert printed[0].split() == ["sacreBLEU", f"{result['bleu']:.2f}", result["bleu_signature"]]
    assert printed[1].split(maxsplit=1) == ["multi-bleu", result["tokenized_bleu_line"]]
    assert printed[2].endswith(f"  {result['compound_split_bleu_line']}")
    assert printed[3].split() == ["chrF", f"{result['chrf']:.2f}", result["chrf_signature"]]
    assert tool(EVALUATE, learned).stdout == scored
    assert contents(folder) == texts
    assert not list(learned.rglob(".*"))


def test_hypotheses_are_those_of_fairseq_generate_with_the_flags_of_the_config(learned, scored):
    flags = ["--beam", 3, "--lenpen", 0.6, "--max-len-a", 1.5, "--max-len-b", 3]
    for subset, name in (("test", "made_up"), ("test1", "another")):
        expected = [sentence[0].text for sentence in fairseq_hypotheses(learned, subset, *flags)]
        assert read_lines(learned / f"evaluation/best/{name}.tok") == expected


def test_options_go_before_the_config_and_leave_the_recipes_scores_alone(learned, scored):
    before = contents(learned / "evaluation/best")
    assert tool(EVALUATE, learned, "--beam", 1, "--lenpen", 2).status == 0
    result = json.loads((learned / "evaluation/best_beam1_lenpen2/made_up.json").read_text())
    assert result["decoding"] == GENERATION | {"beam": 1, "lenpen": 2.0}
    expected = fairseq_hypotheses(learned, "test", "--beam", 1, "--lenpen", 2, "--max-len-a", 1.5, "--max-len-b", 3)
    assert read_lines(learned / "evaluation/best_beam1_lenpen2/made_up.tok") == [s[0].text for s in expected]
    assert contents(learned / "evaluation/best") == before


def test_decoding_without_settings_is_beam_5_and_length_penalty_1(changed):
    config = (changed / "train.yaml").read_text()
    start = config.index("generation:")
    (changed / "train.yaml").write_text(config[:start] + config[config.index("lr_scheduler:") :])
    assert decoding.decoding_of(decoding.read_run(changed)) == {"beam": 5, "lenpen": 1.0}


def test_averages_are_decoded_and_not_kept(learned):
    checkpoints = sorted(learned.rglob("*.pt"))
    for options, name in ((["--average", 2], "average2"), (["--average-best", 2], "average_best2")):
        result = tool(EVALUATE, learned, *options)
        assert result.status == 0, result.stderr
        assert contents(learned / "evaluation" / name).keys() == FILES
        assert json.loads((learned / f"evaluation/{name}/made_up.json").read_text())["checkpoint"] == name
    assert (learned / "evaluation/average2/another.tok").read_bytes() != b"\n" * 10
    assert sorted(learned.rglob("*.pt")) == checkpoints


@pytest.fixture
def evaluated(changed, monkeypatch):
    """A function that scores given hypotheses of made_up as those of the run: (tokens, settings of the data, ...)."""

    def evaluate(
        tokens: list[str], raw: list[list[str]], tok: list[list[str]], settings: str, lang: str = "en"
    ) -> dict:
        data = changed.parent / "data"
        (data / "settings").write_text(settings)
        (data / "testsets").write_text("made_up\n")
        for kind, texts in (("raw", raw), ("tok", tok)):
            for path in (data / kind).glob("made_up.*"):
                path.unlink()
            for suffix, lines in zip(("", "0", "1"), texts, strict=False):
                (data / kind / f"made_up.{lang}{suffix}").write_text("".join(f"{line}\n" for line in lines))
        config = (changed / "train.yaml").read_text()
        (changed / "train.yaml").write_text(config.replace("target_lang: en", f"target_lang: {lang}"))
        decoded = [[decoding.Hypothesis(line, -1.0, 9)] for line in tokens]
        monkeypatch.setattr(decoding, "generate", lambda *_: decoded)
        read = decoding.read_run(changed)
        evaluate_translation.evaluate_whole(read, Path("unused.pt"), {"beam": 5}, "best", "best")
        return json.loads((changed / "evaluation/best/made_up.json").read_text())

    return evaluate


def test_lower_cased_and_escaped_data(evaluated, changed):
    result = evaluated(
        ["it &apos;s a well-known &quot; fact &quot; ."],
        [['It\'s a well-known "fact".']],
        [["it &apos;s a well-known &quot; fact &quot; ."]],
        "bpe: 10000\nlowercase: yes\nescaped: yes\n",
    )
    assert [result["bleu"], result["chrf"]] == pytest.approx([100, 100]) and "case:lc" in result["bleu_signature"]
    assert "hyp_len=8" in result["tokenized_bleu_line"] and "hyp_len=10" in result["compound_split_bleu_line"]
    assert read_lines(changed / "evaluation/best/made_up.txt") == ['it\'s a well-known "fact".']


def test_data_that_is_neither_lower_cased_nor_escaped(evaluated, changed):
    result = evaluated(["it &apos;s so"], [["It&apos;s so"]], [["It &apos;s so"]], "lowercase: no\n")
    assert "case:mixed" in result["bleu_signature"]
    assert read_lines(changed / "evaluation/best/made_up.txt") == ["it &apos;s so"]


def test_chinese_is_joined_and_scored_by_character(evaluated, changed):
    result = evaluated(["我 爱 北京 天安门 。"], [["我爱北京天安门。"]], [["我 爱 北京天安门 。"]], "", "zh")
    assert "tok:zh" in result["bleu_signature"] and result["bleu"] == pytest.approx(100)
    assert read_lines(changed / "evaluation/best/made_up.txt") == ["我爱北京天安门。"]


def test_several_references(evaluated, changed):
    texts = [["a b c d e"], ["a b c x e f g"], ["p q"]]
    result = evaluated(["a b c d e f"], texts, texts, "")
    # 5 and 7 are equally near to 6: the shorter; all six words, abcd and de, ef are in a reference
    assert (
        "hyp_len=6, ref_len=5" in result["tokenized_bleu_line"]
        and " 100.0/100.0/75.0/" in result["tokenized_bleu_line"]
    )
    assert result["bleu_signature"].startswith("nrefs:3|")
    assert [read_lines(changed / f"evaluation/best/made_up.tok.ref{number}") for number in range(3)] == texts


def test_a_killed_evaluation_leaves_the_former_one_and_nothing_else(learned, scored):
    before = contents(learned / "evaluation/best")
    running = command_line.start("script_entry", EVALUATE, learned, "--average-best", 2)
    wait_until(lambda: list((learned / "evaluation").glob(".*.part")), running.process.is_alive)
    running.process.terminate()
    result = running.result()
    assert result.status != 0 and result.stderr == "interrupted\n"
    assert contents(learned / "evaluation/best") == before
    assert not list(learned.rglob(".*"))


def test_what_the_shell_refuses(learned, tmp_path):
    assert "RUN" in refused("evaluate_translation.sh")
    assert "no run folder" in refused("evaluate_translation.sh", tmp_path)
    assert run("evaluate_translation.sh", "--help").stdout.startswith("Decode the test sets")


@pytest.mark.parametrize(
    "options, words",
    [
        (["--beam", "0"], "--beam: must be a positive integer, not '0'"),
        (["--lenpen", "long"], "--lenpen: must be a number, not 'long'"),
        (["--lenpen", "inf"], "--lenpen: must be a number, not 'inf'"),
        (["--lenpen"], "--lenpen: expected one argument"),
        (["--bean", "5"], "unrecognized arguments: --bean 5"),
        (["--average", "2", "--average-best", "2"], "not allowed with"),
        (["--average", "9"], "checkpoints saved by update, not 9; checkpoint.keep_interval_updates says how many"),
        (["--average-best", "3"], "holds 2 checkpoints best on validation, not 3; checkpoint.keep_best_checkpoints"),
    ],
)
def test_options_that_are_refused(learned, scored, options, words):
    before = contents(learned / "evaluation/best")
    assert words in tool_refused(EVALUATE, learned, *options)
    assert contents(learned / "evaluation/best") == before and not list(learned.rglob(".*"))


def _cut_best(run_folder: Path) -> None:
    best = run_folder / "checkpoints/checkpoint_best.pt"
    best.write_bytes(best.read_bytes()[:-100])


def _no_best(run_folder: Path) -> None:
    (run_folder / "checkpoints/checkpoint_best.pt").unlink()


def _no_data(run_folder: Path) -> None:
    shutil.rmtree(run_folder.parent / "data")


def _no_testset(run_folder: Path) -> None:
    (run_folder.parent / "data/testsets").write_text("")


def _no_reference(run_folder: Path) -> None:
    (run_folder.parent / "data/tok/made_up.en").unlink()


def _short_reference(run_folder: Path) -> None:
    path = run_folder.parent / "data/raw/made_up.en"
    path.write_text(path.read_text().partition("\n")[0])


def _other_dictionary(run_folder: Path) -> None:
    path = run_folder.parent / "data/bin/dict.en.txt"
    path.write_text(path.read_text() + "word 1\n")


def _no_bin(run_folder: Path) -> None:
    for path in (run_folder.parent / "data/bin").glob("test.*"):
        path.unlink()


def _generation(old: str, new: str):
    def change(run_folder: Path) -> None:
        config = (run_folder / "train.yaml").read_text()
        assert old in config
        (run_folder / "train.yaml").write_text(config.replace(old, new))

    return change


@pytest.mark.parametrize(
    "spoil, words",
    [
        (_cut_best, "checkpoint_best.pt is cut short; --average N decodes without it"),
        (_no_best, "checkpoint_best.pt; has the run reached its first validation?"),
        (_no_data, "holds no prepared data (no file testsets)"),
        (_no_testset, "data was prepared without a test set: there is nothing to evaluate on"),
        (_no_reference, "there is no reference"),
        (_short_reference, "made_up: 9 hypotheses, a reference of 1 lines"),
        (_other_dictionary, "decoding test with"),
        (_no_bin, "decoding test with"),
        (
            _generation("lenpen: 0.6", "lenpenalty: 0.6"),
            "train.yaml, generation: Key 'lenpenalty' not in 'GenerationConfig'",
        ),
        (_generation("beam: 3", "beam: many"), "train.yaml, generation: Value 'many'"),
        (_generation("source_lang: de", "sauce_lang: de"), "says nothing of task.source_lang"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_spoiled_run_is_refused(changed, spoil, words):
    spoil(changed)
    assert words in tool_refused(EVALUATE, changed)
    assert not list(changed.glob("evaluation/*")) and not list(changed.rglob(".*"))


def test_generated_text_is_read_in_the_order_of_the_corpus_with_odd_characters(tmp_path):
    lines = ["S-1\tx", "H-1\t-0.5\tone\u2028more", "D-1\t-0.5\tno", "P-1\t-0.1 -0.2 -0.3"]
    lines += ["H-10\t-0.1\tten\ttab", "P-10\t-0.1", "H-10\t-0.9\tsecond best", "P-10\t-0.9 -0.9"]
    lines += ["H-2\t-1.0\t", "P-2\t-1.0", "Generate test with beam=5: BLEU4 = 1.00"]
    (tmp_path / "generate-test.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert decoding.read_generated(tmp_path / "generate-test.txt") == [
        [("one\u2028more", -0.5, 3)],
        [("", -1.0, 1)],
        [("ten\ttab", -0.1, 1), ("second best", -0.9, 2)],
    ]


def test_the_average_that_is_decoded_is_that_of_the_last_checkpoints(learned, tmp_path):
    command = ["average_checkpoints", learned / "checkpoints", tmp_path / "mean.pt", "--last", 2]
    assert tool(*command).status == 0
    names = sorted(learned.glob("checkpoints/checkpoint_*_*.pt"), key=lambda path: int(path.stem.split("_")[-1]))
    import rdrop_fairseq  # noqa: F401  (makes fairseq's checkpoints loadable)

    one, two, mean = (torch.load(path, weights_only=True)["model"] for path in (*names[-2:], tmp_path / "mean.pt"))
    key = "encoder.layers.0.fc1.weight"
    torch.testing.assert_close(mean[key], (one[key] + two[key]) / 2)
    assert not torch.equal(one[key], two[key])
