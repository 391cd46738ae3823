"""scripts/evaluate_translation.sh: decoding as the run's config says, the scores, what is written, what is refused."""

import argparse
import dataclasses
import hashlib
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy
import pytest
import torch
from recipes.evaluation import checkpoint_choice, decoding, language_model, sweep, translation
from recipes.files import read_lines
from support import command_line
from support.learned_run import contents, fairseq_hypotheses, tool, tool_refused, train_learned, tree
from support.toy_run import refused, run
from support.waiting import wait_until

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
    """What translation.sh printed of the run."""
    result = run("evaluate_translation.sh", learned)
    assert result.returncode == 0 and result.stderr == "", result.stdout + result.stderr
    return result.stdout


@pytest.fixture
def changed(learned: Path, tmp_path: Path) -> Path:
    """A copy of the run and its data, to be spoiled: its run folder."""
    data = shutil.copytree(learned.parent / "data", tmp_path / "of=it" / "data")
    copy = shutil.copytree(learned, data.parent / "a run", ignore=shutil.ignore_patterns("evaluation"))
    config = (copy / "train.yaml").read_text()
    (copy / "train.yaml").write_text(config.replace(str(learned.parent / "data"), str(data)))
    return copy


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
    printed = scored[scored.index("another (10 sentences)") :].splitlines()[1:5]
    assert printed[0].split() == ["sacreBLEU", f"{result['bleu']:.2f}", result["bleu_signature"]]
    assert printed[1].split(maxsplit=1) == ["multi-bleu", result["tokenized_bleu_line"]]
    assert printed[2].endswith(f"  {result['compound_split_bleu_line']}")
    assert printed[3].split() == ["chrF", f"{result['chrf']:.2f}", result["chrf_signature"]]
    before = tree(learned.parent)
    assert tool(EVALUATE, learned).stdout == scored
    assert tree(learned.parent) == before


def test_hypotheses_are_those_of_fairseq_generate_with_the_flags_of_the_config(learned, scored):
    flags = ["--beam", 3, "--lenpen", 0.6, "--max-len-a", 1.5, "--max-len-b", 3]
    for subset, name in (("test", "made_up"), ("test1", "another")):
        expected = [sentence[0].text for sentence in fairseq_hypotheses(learned, subset, *flags)]
        assert read_lines(learned / f"evaluation/best/{name}.tok") == expected


def test_options_go_before_the_config_and_leave_the_recipes_scores_alone(learned, scored):
    before = tree(learned.parent)
    assert tool(EVALUATE, learned, "--beam", 1, "--lenpen", 2).status == 0
    added = tree(learned.parent).items() - before.items()
    assert {path for path, _ in added} == {f"run/evaluation/best_beam1_lenpen2/{file}" for file in FILES}
    assert before.items() <= tree(learned.parent).items()
    result = json.loads((learned / "evaluation/best_beam1_lenpen2/made_up.json").read_text())
    assert result["decoding"] == GENERATION | {"beam": 1, "lenpen": 2.0}
    expected = fairseq_hypotheses(learned, "test", "--beam", 1, "--lenpen", 2, "--max-len-a", 1.5, "--max-len-b", 3)
    assert read_lines(learned / "evaluation/best_beam1_lenpen2/made_up.tok") == [s[0].text for s in expected]


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
        for kind, texts in (("raw", raw), ("tok", tok)):
            for path in (data / kind).glob("made_up.*"):
                path.unlink()
            for suffix, lines in zip(("", "0", "1"), texts, strict=False):
                (data / kind / f"made_up.{lang}{suffix}").write_text("".join(f"{line}\n" for line in lines))
        config = (changed / "train.yaml").read_text()
        (changed / "train.yaml").write_text(config.replace("target_lang: en", f"target_lang: {lang}"))
        decoded = [[decoding.Hypothesis(line, -1.0, 9)] for line in tokens]
        monkeypatch.setattr(decoding, "generate", lambda *_: decoded)
        monkeypatch.setattr(decoding, "too_long", lambda *_: numpy.array([False]))
        monkeypatch.setattr(decoding.Run, "testsets", ["made_up"])
        unused = checkpoint_choice.Checkpoint(Path("unused.pt"), "unused", "best", 1, "", (9, 9))
        translation.evaluate_whole(decoding.read_run(changed), unused, {"beam": 5}, "best")
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


def started(run_folder: Path, *options: object) -> command_line.Running:
    """An evaluation that has begun to write."""
    known = set(run_folder.glob("evaluation/.*.part/new"))
    running = command_line.start("support.script_entry", EVALUATE, run_folder, *options)
    wait_until(lambda: set(run_folder.glob("evaluation/.*.part/new")) - known, running.process.is_alive)
    return running


def test_an_evaluation_that_is_told_to_end_leaves_the_former_one_and_nothing_else(learned, scored):
    before = tree(learned.parent)
    running = started(learned, "--average-best", 2)
    running.process.terminate()
    result = running.result()
    assert result.status != 0 and result.stderr == "interrupted\n"
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


def test_a_folder_is_that_of_the_last_process_that_made_it(tmp_path, monkeypatch):
    left = tmp_path / ".made.0.part"
    left.mkdir()
    monkeypatch.setattr(tempfile, "mkdtemp", lambda *_: monkeypatch.undo() or tmp_path / "taken away meanwhile")
    with checkpoint_choice.made_whole(tmp_path / "made") as one, checkpoint_choice.made_whole(tmp_path / "made") as two:
        assert not left.exists() and one.exists()
        (one / "one").touch()
        (two / "two").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "one"]
    with pytest.raises(OSError), checkpoint_choice.made_whole(tmp_path / "made"):
        raise OSError
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "one"]


@contextmanager
def chosen(run_folder: Path) -> Iterator[checkpoint_choice.Checkpoint]:
    """The best checkpoint of a run."""
    args = argparse.Namespace(run=run_folder, average=None, average_best=None)
    with checkpoint_choice.chosen_checkpoint(args) as checkpoint:
        yield checkpoint


def test_the_checkpoint_stays_while_training_writes_a_new_one_in_its_place(changed, monkeypatch):
    best = changed / "checkpoints/checkpoint_best.pt"
    old, new = best.read_bytes(), (changed / "checkpoints/checkpoint_last.pt").read_bytes()
    with chosen(changed) as checkpoint:
        best.write_bytes(new)
        assert checkpoint.path.read_bytes() == old and hashlib.sha256(old).hexdigest() == checkpoint.checksum
    assert old != new and not list(changed.rglob(".*"))

    def copied_while_written(source, copy):
        monkeypatch.undo()
        Path(copy).write_bytes(new[:1000])
        source.write_bytes(old)

    monkeypatch.setattr(shutil, "copyfile", copied_while_written)
    with chosen(changed) as checkpoint:
        assert checkpoint.path.read_bytes() == old


@pytest.mark.parametrize("name", ["a:b", "a${b}"])
def test_a_run_where_fairseq_would_read_other_paths_is_refused(tmp_path, name):
    with pytest.raises(SystemExit, match="fairseq cannot read from a path with"), chosen(tmp_path / name):
        pass


def test_lines_that_are_too_long_are_scored_as_empty_and_counted(changed, scored, learned, monkeypatch, capsys):
    monkeypatch.chdir(changed)
    monkeypatch.setattr(sys, "argv", [EVALUATE])
    monkeypatch.setattr(decoding, "MAX_TOKENS", 3)  # a line above it is a batch of its own
    read = decoding.read_run(changed)
    how = decoding.decoding_of(read)
    words = [len(line.split()) for line in read_lines(changed.parent / "data/tok/made_up.de")]
    usual = read_lines(learned / "evaluation/best/made_up.tok")
    for longest in (max(words), sorted(words)[5], 1):
        with chosen(changed) as checkpoint:
            of_short = dataclasses.replace(checkpoint, positions=(longest + 1, longest + 1))  # with the end of sentence
            found = decoding.generate(read, of_short, "test", how, changed)
        kept = [count <= longest for count in words]
        assert [sentence[0].text for sentence in found] == [
            text if is_kept else "" for text, is_kept in zip(usual, kept, strict=True)
        ]
        line = f"{kept.count(False)} lines of 9 are longer than the model's {longest + 1} positions: scored as empty\n"
        assert capsys.readouterr().out == (line if kept.count(False) else "")


def test_what_the_shell_refuses(learned, tmp_path):
    assert "RUN" in refused("evaluate_translation.sh")
    assert "no run folder" in refused("evaluate_translation.sh", tmp_path)
    assert run("evaluate_translation.sh", "--help").stdout.startswith("Decode the test sets")


@pytest.mark.parametrize(
    "options, words",
    [
        (["--beam", "0"], "--beam: must be a positive integer, not '0'"),
        (["--beam", "1" * 20], "--beam: must be an integer up to 2147483647, not '11111111111111111111'"),
        (["--lenpen", "long"], "--lenpen: must be a number from -50 to 50, not 'long'"),
        (["--lenpen", "nan"], "--lenpen: must be a number from -50 to 50, not 'nan'"),
        (["--lenpen", "1e308"], "--lenpen: must be a number from -50 to 50, not '1e308'"),
        (["--lenpen"], "--lenpen: expected one argument"),
        (["--bean", "5"], "unrecognized arguments: --bean 5"),
        (["--average", "2", "--average-best", "2"], "not allowed with"),
        (["--average", "9"], "checkpoints saved by update, not 9; checkpoint.keep_interval_updates says how many"),
        (["--average-best", "3"], "holds 2 checkpoints best on validation, not 3; checkpoint.keep_best_checkpoints"),
    ],
)
def test_options_that_are_refused(learned, scored, options, words):
    before = tree(learned)
    assert words in tool_refused(EVALUATE, learned, *options)
    assert tree(learned) == before and not list(learned.rglob(".*"))


def _cut_best(run_folder: Path) -> None:
    best = run_folder / "checkpoints/checkpoint_best.pt"
    best.write_bytes(best.read_bytes()[:-100])


def _no_best(run_folder: Path) -> None:
    (run_folder / "checkpoints/checkpoint_best.pt").unlink()


def _no_data(run_folder: Path) -> None:
    shutil.rmtree(run_folder.parent / "data")


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


def _checkpoint(value: object):
    def no_checkpoint(run_folder: Path) -> None:
        torch.save(value, run_folder / "checkpoints/checkpoint_best.pt")

    return no_checkpoint


def _model(**settings: object):
    def change_model(run_folder: Path) -> None:
        import rdrop_fairseq  # noqa: F401  (makes fairseq's checkpoints loadable)

        path = run_folder / "checkpoints/checkpoint_best.pt"
        state = torch.load(path, weights_only=True)
        state["cfg"]["model"] = checkpoint_choice._items(state["cfg"]["model"]) | settings
        torch.save(state, path)

    return change_model


def _bytes_of_settings(run_folder: Path) -> None:
    (run_folder.parent / "data/settings").write_bytes(b"\xff")


def _cut_index(run_folder: Path) -> None:
    path = run_folder.parent / "data/bin/test.de-en.de.idx"
    path.write_bytes(path.read_bytes()[:20])


def _testsets(text: str):
    def change_testsets(run_folder: Path) -> None:
        (run_folder.parent / "data/testsets").write_text(text)

    return change_testsets


@pytest.mark.parametrize(
    "spoil, words",
    [
        (_cut_best, "checkpoint_best.pt is cut short; --average N decodes without it"),
        (_no_best, "checkpoint_best.pt; has the run reached its first validation?"),
        (_checkpoint(torch.zeros(1)), "checkpoint_best.pt is no checkpoint of fairseq"),
        (_checkpoint({"model": {}, "cfg": {"model": "text"}}), "checkpoint_best.pt is no checkpoint of fairseq"),
        (_checkpoint(Path("/")), "checkpoint_best.pt is not loaded: it holds more than weights and settings"),
        (_no_data, "holds no prepared data (no file testsets)"),
        (_testsets(""), "data was prepared without a test set: there is nothing to evaluate on"),
        (_no_reference, "there is no reference"),
        (_short_reference, "made_up: 9 hypotheses, a reference of 1 lines"),
        (_other_dictionary, "decoding test with"),
        (_no_bin, "testsets names 2 test sets"),
        (_testsets("made_up\n"), "testsets names 1 test sets, "),
        (_testsets("made_up\nmade_up\n"), "each once; one is 'made_up'"),
        (_testsets("made_up\n../another\n"), "one is '../another'"),
        (_cut_index, "data/bin, test failed: "),
        (_bytes_of_settings, "data/settings is no text in UTF-8"),
        (_model(encoder_layers="print(1)"), "fairseq could run its encoder_layers as a program: print(1)"),
        (_model(encoder={"conv_feature_layers": "[].x"}), "fairseq could run its conv_feature_layers as a program"),
        (_model(decoder_layers="${task.data}"), "fairseq could run its decoder_layers as a program: ${task.data}"),
        (_model(w2v_path="other.pt"), "checkpoint_best.pt is refused: its w2v_path names another checkpoint, other.pt"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_spoiled_run_is_refused(changed, spoil, words, monkeypatch, capsys):
    spoil(changed)
    before = tree(changed.parent)
    monkeypatch.chdir(changed)
    monkeypatch.setattr(sys, "argv", [EVALUATE, str(changed)])
    with pytest.raises(SystemExit) as error:
        translation.main()
    assert words in error.value.code and "\n" not in error.value.code
    assert tree(changed.parent) == before and not list(changed.rglob(".*"))


def test_arithmetic_of_literals_is_no_program():
    for text in ("[(512, 3)] * 4 + [(768, 3)]", "True", "-1", "3", " [(512, 10, 5)] + [(512,2,2)]*2 "):
        assert checkpoint_choice._is_arithmetic(text)
    for text in ("print(1)", "a", "[].__class__", "(x for x in [])", "f'{1}'", "[1][0]", "lambda: 1", "1 +", "\0", ""):
        assert not checkpoint_choice._is_arithmetic(text)


MAINS = {"translation": translation.main, "lm": language_model.main, "sweep": sweep.main}
CONFIG = """
task: {{_name: {task}, data: {data}, source_lang: de, target_lang: en}}
common: {{cpu: true}}
generation: {{beam: 3}}
"""


@pytest.mark.parametrize("main", MAINS)
@pytest.mark.parametrize(
    "config, words",
    [
        (b"\xff\x00", "train.yaml cannot be read: "),
        ("task: {data", "train.yaml cannot be read: while parsing"),
        ("just text", ""),
        ("5", "train.yaml cannot be read: "),
        ("- 1", "train.yaml is no config: it holds a list"),
        ("a: &a [*a]", "train.yaml cannot be read: "),
        ("", ""),
        ("task: 5", ""),
        ("task: [5]", "train.yaml, task.data: Index 'data'"),
        ("task: {data: '${no.such}'}", "train.yaml, task.data: Interpolation key 'no.such' not found"),
        (("data: .*?,", "data: 5,"), "train.yaml, task.data: must be a text, not 5"),
        (("data: .*?,", "data: '/a:b/bin',"), "/a:b/bin: fairseq cannot read from a path with ':'"),
        (("data: .*?,", "data: '/a/\\\\${b}/bin',"), "/a/${b}/bin: fairseq cannot read from a path with"),
        (("cpu: true", "cpu: many"), "train.yaml, common.cpu: must be true or false, not many"),
    ],
)
def test_a_spoiled_config_is_refused_by_each_evaluation(learned, tmp_path, monkeypatch, main, config, words):
    if isinstance(config, tuple):
        data = shutil.copytree(learned.parent / "data", tmp_path / "data")
        shutil.copy(data / "bin/dict.de.txt", data / "bin/dict.txt")
        task = "language_modeling" if main == "lm" else "translation"
        old, new = config
        config = re.sub(old, new, CONFIG.format(task=task, data=data / "bin"))
    (tmp_path / "train.yaml").write_bytes(config if isinstance(config, bytes) else config.encode())
    monkeypatch.setattr(sys, "argv", ["evaluate", str(tmp_path)])
    with pytest.raises(SystemExit) as error:
        MAINS[main]()
    assert words in error.value.code and "\n" not in error.value.code


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("lenpen: 0.6", "lenpenalty: 0.6", "train.yaml, generation: Key 'lenpenalty' not in 'GenerationConfig'"),
        ("beam: 3", "beam: many", "train.yaml, generation: Value 'many'"),
        ("beam: 3", f"beam: {'1' * 20}", "train.yaml, generation.beam: must be from 1 to 2.14748e+09, not 1111"),
        ("beam: 3", "beam: ${x}", "train.yaml, generation: Interpolation key 'x' not found"),
        ("lenpen: 0.6", "lenpen: .nan", "train.yaml, generation.lenpen: must be from -50 to 50, not nan"),
        ("lenpen: 0.6", "lenpen: 1e308", "train.yaml, generation.lenpen: must be from -50 to 50, not 1e+308"),
        ("lenpen: 0.6", "lenpen: null", "train.yaml, generation"),
        ("lenpen: 0.6", "score_reference: true", "generation.score_reference: an evaluation does not take this"),
        ("lenpen: 0.6", "lm_path: /some/lm.pt", "generation.lm_path: an evaluation does not take this"),
        ("lenpen: 0.6", "replace_unk: /some/file", "generation.replace_unk: an evaluation does not take this"),
        ("source_lang: de", "sauce_lang: de", "says nothing of task.source_lang"),
        ("target_lang: en", "target_lang: --user-dir=/some", "task.target_lang: must be a language as in 'de', not"),
        ("target_lang: en", "target_lang: en/../x", "task.target_lang: must be a language as in 'de', not"),
        ("generation:", "generation: [1]\nother:", "train.yaml, generation: must be a section, not [1]"),
        (
            "generation:",
            "common_eval: {post_process: --user-dir=/some}\ngeneration:",
            "common_eval.post_process: must be",
        ),
    ],
)
def test_settings_of_a_config_that_are_refused(learned, tmp_path, old, new, words):
    config = (learned / "train.yaml").read_text()
    assert old in config
    (tmp_path / "train.yaml").write_text(config.replace(old, new))
    with pytest.raises(SystemExit) as error:
        decoding.decoding_of(decoding.read_run(tmp_path))
    assert words in error.value.code and "\n" not in error.value.code


def test_all_values_of_a_config_reach_fairseq_as_values(changed, monkeypatch):
    calls = []
    monkeypatch.setattr("fairseq_cli.generate.cli_main", lambda: calls.append(sys.argv) or sys.exit("seen"))
    monkeypatch.chdir(changed)
    monkeypatch.setattr(sys, "argv", [EVALUATE])
    read = dataclasses.replace(decoding.read_run(changed), post_process="--user-dir=a")
    with chosen(changed) as checkpoint, pytest.raises(SystemExit):
        decoding.generate(read, checkpoint, "test", {"beam": "--user-dir=b", "lenpen": "x"}, changed)
    ((_, data, *options),) = calls
    assert Path(data).is_absolute() and all(option.startswith("--") for option in options)
    assert not [option for option in options if option.startswith("--user-dir")]


def test_the_dictionaries_are_those_of_training(changed):
    folder = changed.parent / "data/bin"
    names = sorted(path.name for path in folder.glob("dict.*.txt"))
    kept = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name in names]
    (changed / "dictionaries.txt").write_text("\n".join(kept) + "\n")
    decoding.read_run(changed)
    path = folder / names[-1]
    path.write_text("".join(sorted(path.read_text().splitlines(keepends=True), reverse=True)))
    with pytest.raises(SystemExit, match=f"{names[-1]} is not the dictionary that .* was trained with"):
        decoding.read_run(changed)
    (changed / "dictionaries.txt").write_text("12  dict.de.txt\n")
    with pytest.raises(SystemExit, match=r"'12  dict\.de\.txt' is no line of sha256sum"):
        decoding.read_run(changed)


def test_the_source_text_is_no_reference(changed):
    data = changed.parent / "data"
    for kind in ("raw", "tok"):
        (data / kind / "made_up.en0").write_text("source\n")
        (data / kind / "made_up.en1").write_text("another\n")
    read = decoding.read_run(changed)
    assert read.references("tok", "made_up")[1:] == [["source"], ["another"]]
    assert dataclasses.replace(read, source="en0").references("tok", "made_up")[1:] == [["another"]]


def test_generated_text_is_read_in_the_order_of_the_corpus_with_odd_characters(tmp_path):
    lines = ["S-1\tx", "H-1\t-0.5\tone\u2028more", "D-1\t-0.5\tno", "P-1\t-0.1 -0.2 -0.3"]
    lines += ["H-10\t-0.1\tten\ttab", "P-10\t-0.1", "H-10\t-0.9\tsecond best", "P-10\t-0.9 -0.9"]
    lines += ["H-2\t-1.0\t", "P-2\t-1.0", "Generate test with beam=5: BLEU4 = 1.00"]
    (tmp_path / "generate-test.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = decoding.read_generated(tmp_path / "generate-test.txt")
    assert list(found.items()) == [
        (1, [("one\u2028more", -0.5, 3)]),
        (2, [("", -1.0, 1)]),
        (10, [("ten\ttab", -0.1, 1), ("second best", -0.9, 2)]),
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
