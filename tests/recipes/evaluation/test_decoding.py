"""Decoding a run: fairseq-generate as the run's config says, what it wrote, and settings that are refused."""

import dataclasses
import hashlib
import sys
from pathlib import Path

import pytest
from recipes.evaluation import decoding
from recipes.files import read_lines
from recipes.training.run_folder import RunFolder
from support.learned_run import chosen, fairseq_hypotheses


def test_hypotheses_are_those_of_fairseq_generate_with_the_flags_of_the_config(learned, tmp_path):
    flags = ["--beam", 3, "--lenpen", 0.6, "--max-len-a", 1.5, "--max-len-b", 3]
    read = decoding.read_run(RunFolder(learned))
    for subset in ("test", "test1"):
        expected = [of_line[0] for of_line in fairseq_hypotheses(learned, subset, *flags)]
        with chosen(learned) as checkpoint:
            found = decoding.generate(read, checkpoint, subset, decoding.decoding_of(read), tmp_path)
        assert [of_line[0] for of_line in found] == expected
        assert not list(tmp_path.iterdir())


def test_decoding_without_settings_is_beam_5_and_length_penalty_1(changed):
    config = (changed / "train.yaml").read_text()
    start = config.index("generation:")
    (changed / "train.yaml").write_text(config[:start] + config[config.index("lr_scheduler:") :])
    assert decoding.decoding_of(decoding.read_run(RunFolder(changed))) == {"beam": 5, "lenpen": 1.0}


def test_lines_that_are_too_long_are_scored_as_empty_and_counted(changed, monkeypatch, capsys):
    monkeypatch.setattr(decoding, "MAX_TOKENS", 3)  # a line above it is a batch of its own
    read = decoding.read_run(RunFolder(changed))
    how = decoding.decoding_of(read)
    words = [len(line.split()) for line in read_lines(changed.parent / "data/tok/made_up.de")]
    with chosen(changed) as checkpoint:
        usual = [of_line[0].text for of_line in decoding.generate(read, checkpoint, "test", how, changed)]
    for longest in (max(words), sorted(words)[5], 1):
        with chosen(changed) as checkpoint:
            of_short = dataclasses.replace(checkpoint, positions=(longest + 1, longest + 1))  # with the end of sentence
            found = decoding.generate(read, of_short, "test", how, changed)
        kept = [count <= longest for count in words]
        assert [sentence[0].text for sentence in found] == [
            text if is_kept else "" for text, is_kept in zip(usual, kept, strict=True)
        ]
        line = f"longer than the model's {longest + 1} positions, so scored as empty: {kept.count(False)} of 9 lines\n"
        assert capsys.readouterr().out == (line if kept.count(False) else "")


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("lenpen: 0.6", "lenpenalty: 0.6", "train.yaml, generation: Key 'lenpenalty' not in 'GenerationConfig'"),
        ("beam: 3", "beam: many", "train.yaml, generation: Value 'many'"),
        ("beam: 3", f"beam: {'1' * 12}", "train.yaml, generation.beam: must be from 1 to 2.14748e+09, not 1111"),
        ("beam: 3", "beam: ${x}", "train.yaml, generation: Interpolation key 'x' not found"),
        ("lenpen: 0.6", "lenpen: .nan", "train.yaml, generation.lenpen: must be from -50 to 50, not nan"),
        ("lenpen: 0.6", "lenpen: 1e308", "train.yaml, generation.lenpen: must be from -50 to 50, not 1e+308"),
        ("lenpen: 0.6", "lenpen: null", "train.yaml, generation"),
        ("lenpen: 0.6", "score_reference: true", "generation.score_reference: an evaluation does not take this"),
        ("lenpen: 0.6", "lm_path: /some/lm.pt", "generation.lm_path: an evaluation does not take this"),
        ("lenpen: 0.6", "replace_unk: /some/file", "generation.replace_unk: an evaluation does not take this"),
        ("source_lang: de", "sauce_lang: de", "task.source_lang: must be a language as in 'de', not 'None'; is this"),
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
        decoding.decoding_of(decoding.read_run(RunFolder(tmp_path)))
    assert words in error.value.code and "\n" not in error.value.code


def test_all_values_of_a_config_reach_fairseq_as_values(changed, monkeypatch):
    calls = []
    monkeypatch.setattr("fairseq.options.parse_args_and_arch", lambda _, given: calls.append(given) or sys.exit("seen"))
    read = dataclasses.replace(decoding.read_run(RunFolder(changed)), post_process="--user-dir=a")
    with chosen(changed) as checkpoint, pytest.raises(SystemExit, match="seen"):
        decoding.generate(read, checkpoint, "test", {"beam": "--user-dir=b", "lenpen": "x"}, changed)
    ((data, *options),) = calls
    assert Path(data).is_absolute() and all(option.startswith("--") for option in options)
    assert not [option for option in options if option.startswith("--user-dir")]


def test_the_dictionaries_are_those_of_training(changed):
    folder = changed.parent / "data/bin"
    names = sorted(path.name for path in folder.glob("dict.*.txt"))
    kept = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name in names]
    (changed / "dictionaries.txt").write_text("\n".join(kept) + "\n")
    decoding.read_run(RunFolder(changed))
    path = folder / names[-1]
    path.write_text("".join(sorted(path.read_text().splitlines(keepends=True), reverse=True)))
    with pytest.raises(SystemExit, match=f"{names[-1]} is not the dictionary that .* was trained with"):
        decoding.read_run(RunFolder(changed))
    (changed / "dictionaries.txt").write_text("12  dict.de.txt\n")
    with pytest.raises(SystemExit, match=r"'12  dict\.de\.txt' is no line of sha256sum"):
        decoding.read_run(RunFolder(changed))


def test_the_source_text_is_no_reference(changed):
    data = changed.parent / "data"
    for kind in ("raw", "tok"):
        (data / kind / "made_up.en0").write_text("source\n")
        (data / kind / "made_up.en1").write_text("another\n")
    read = decoding.read_run(RunFolder(changed))
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
