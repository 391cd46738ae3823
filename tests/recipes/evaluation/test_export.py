"""scripts/export.sh: a folder that translates by itself as the run does, and what is refused with the reason."""

import json
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from recipes import layout
from recipes.data.prepared import Prepared
from recipes.evaluation import checkpoint_choice, decoding, export, translate
from recipes.evaluation.ctranslate2_engine import CTranslate2Engine
from recipes.evaluation.ctranslate2_model import refuse_what_it_cannot_hold, settings_of
from recipes.evaluation.export_readme import program_of
from recipes.evaluation.exported import Exported, read_exported
from recipes.evaluation.fairseq_engine import FairseqEngine
from recipes.training.run_folder import RunFolder
from support.in_process import call, printed, refused
from support.learned_run import chosen, copy_of


@pytest.fixture(scope="module")
def made(with_codes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return an export whose run and data are gone, and what the command printed."""
    place = tmp_path_factory.mktemp("made")
    run = copy_of(with_codes, place)
    said = printed(export.main, run, place / "out")
    for folder in (run, place / "data"):
        shutil.rmtree(folder)
    return place / "out", said


@pytest.fixture
def run(with_codes: Path) -> decoding.Run:
    return decoding.read_run(checkpoint_choice.ModelParser().parse_args([str(with_codes)]).run)


def text_of(run_folder: Path) -> Path:
    return run_folder.parent / "data/raw/made_up.de"


def test_it_translates_as_the_run_does_with_run_and_data_gone(made, with_codes):
    out, said = made
    assert said.startswith("CTranslate2 translates 9 of 9 lines of the validation set as fairseq does\n")
    names = {path.name for path in out.iterdir()}
    assert names == {"model.bin", "config.json", "shared_vocabulary.json", "prepared", "export.json", "README.md"}
    expected = printed(translate.main, with_codes, text_of(with_codes))
    assert printed(translate.main, out, text_of(with_codes)) == expected
    rows = printed(translate.main, out, text_of(with_codes), "--nbest", 2, "--scores").splitlines()
    assert [row.split("\t")[1] for row in rows[::2]] == expected.splitlines()
    assert len(rows) == 2 * len(rows[::2]) and len(set(rows)) == len(rows)
    facts = json.loads((out / "export.json").read_text())
    assert facts["check"] == {"lines": 9, "equal": 9} and facts["generation"]["lenpen"] == 0.6


def test_the_lines_of_its_readme_translate_the_same(made, with_codes, tmp_path):
    out, _ = made
    lines = [line.removeprefix("    ") for line in (out / "README.md").read_text().split("\n")]
    last = next(number for number, line in enumerate(lines) if line.startswith("    print("))
    program = "\n".join(lines[lines.index("import ctranslate2") : last + 1])
    odd = "\ufeff{}\n\nein\u2028zwei\x85drei\x0bvier\r\n{}".format(text_of(with_codes).read_text(), "ein " * 3000)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=out, input=odd.encode(), capture_output=True, check=True)
    (tmp_path / "odd").write_bytes(odd.encode())
    *expected, longest = call(translate.main, out, tmp_path / "odd").stdout.split("\n")[:-1]
    *found, cut = done.stdout.decode().split("\n")[:-1]
    assert found == expected and longest.startswith(cut.split(" ")[0])


@pytest.mark.parametrize(
    "how",
    [
        {"beam": 4, "lenpen": 0.6},
        {"beam": 2, "lenpen": 1.0, "unnormalized": True},
        {"beam": 1, "lenpen": 1.0},
    ],
)
def test_both_engines_give_the_same_hypotheses_scores_and_lengths(how, made, with_codes, run):
    lines = (with_codes.parent / "data/tok/made_up.de").read_text().splitlines()
    with chosen(with_codes) as checkpoint:
        fairseq = FairseqEngine(run, checkpoint, cpu=True)
    engine = CTranslate2Engine(made[0], read_exported(made[0]), cpu=True)
    assert engine.longest == checkpoint.positions[0]
    both = [model.translate(lines, how, 1) for model in (fairseq, engine)]
    for (one,), (other,) in zip(*both, strict=True):
        assert (one.text, one.length) == (other.text, other.length)
        assert other.score == pytest.approx(one.score, rel=0.01)


def test_a_translation_is_no_longer_than_the_settings_allow(made, with_codes):
    lines = (with_codes.parent / "data/tok/made_up.de").read_text().splitlines()
    how = {"beam": 3, "lenpen": 1.5, "max_len_a": 0.5, "max_len_b": 0}
    found = CTranslate2Engine(made[0], read_exported(made[0]), cpu=True).translate(lines, how, 1)
    assert [len(one.text.split()) for (one,) in found] == [(len(line.split()) + 1) // 2 for line in lines]


def test_quantized_average_of_a_run_without_its_validation_set(with_codes, tmp_path):
    run = copy_of(with_codes, tmp_path)
    for file in (tmp_path / "data/bin").glob("valid*"):
        file.unlink()
    said = printed(export.main, run, tmp_path / "new/out", "--quantization", "int8", "--average", 2)
    assert f"Not checked: {tmp_path}/data/bin has no validation set in the words of the run\n" in said
    facts = read_exported(tmp_path / "new/out")
    assert (facts.quantization, facts.check, facts.checkpoint["checkpoint"]) == ("int8", None, "average2")
    assert "It was not compared" in (tmp_path / "new/out/README.md").read_text()


def test_the_words_of_data_that_was_prepared_again_are_not_translated(with_codes, tmp_path):
    run = RunFolder(copy_of(with_codes, tmp_path))
    layout.copy_of_preparation(run.data, run.prepared)
    dictionary = run.data / "dict.de.txt"
    dictionary.write_text("".join(reversed(dictionary.read_text().splitlines(keepends=True))))
    assert "Not checked: " in printed(export.main, run.path, tmp_path / "out")


def test_a_checkpoint_with_data_that_no_prepare_script_made(learned, tmp_path):
    shutil.copytree(learned.parent / "data/bin", tmp_path / "bin")
    checkpoint = learned / "checkpoints/checkpoint_best.pt"
    model = ("--checkpoint", checkpoint, "--data", tmp_path / "bin")
    assert "translates 9 of 9 lines" in printed(export.main, *model, tmp_path / "out")
    tokens = learned.parent / "data/tok/made_up.de"
    expected = call(translate.main, *model, tokens, "--beam", 3).stdout
    assert printed(translate.main, tmp_path / "out", tokens, "--beam", 3) == expected
    assert "return line.split()" in (tmp_path / "out/README.md").read_text()


def with_model_settings(run_folder: Path, place: Path, **settings: object) -> Path:
    """Return a copy of a run whose best checkpoint says other settings of its model; sections are merged."""
    copy = copy_of(run_folder, place)
    checkpoint = copy / "checkpoints/checkpoint_best.pt"
    state = torch.load(checkpoint, weights_only=True)
    model = state["cfg"]["model"]
    for key, value in settings.items():
        model[key] = {**(model.get(key) or {}), **value} if isinstance(value, dict) else value
    torch.save(state, checkpoint)
    return copy


def test_layer_drop_acts_in_training_alone(with_codes, tmp_path):
    run = with_model_settings(with_codes, tmp_path, encoder={"layerdrop": 0.9}, decoder={"layerdrop": 0.9})
    assert "translates 9 of 9 lines" in printed(export.main, run, tmp_path / "out")


def test_a_model_that_it_cannot_hold_leaves_nothing(with_codes, tmp_path):
    run = with_model_settings(with_codes, tmp_path, adaptive_softmax_cutoff="5,8")
    line = refused(export.main, run, tmp_path / "out")
    assert line == "CTranslate2 cannot hold this model: it has an adaptive softmax"
    assert {path.name for path in tmp_path.iterdir()} == {"data", "run"}


def test_a_check_that_fails_leaves_nothing(with_codes, tmp_path, monkeypatch):
    monkeypatch.setattr(CTranslate2Engine, "translate", lambda _, lines, *__: [[decoding.EMPTY]] * len(lines))
    line = refused(export.main, with_codes, tmp_path / "out", "--check", 4)
    assert line.startswith("not exported: CTranslate2 translates only 0 of 4 lines")
    assert not list(tmp_path.iterdir())


def test_what_is_refused_before_anything_is_loaded(with_codes, made, tmp_path, monkeypatch):
    assert "int4" in refused(export.main, with_codes, tmp_path / "out", "--quantization", "int4")
    assert refused(export.main, with_codes, made[0]) == f"{made[0]} exists: choose another OUT, or remove it"
    assert "invalid choice: 'onnx'" in refused(export.main, with_codes, tmp_path / "out", "--to", "onnx")
    assert "exported model" in refused(translate.main, made[0], "--average", 2)
    assert "not with others" in refused(translate.main, made[0], with_codes)
    assert refused(export.main, with_codes) == "one OUT is needed, not 0 (see --help)"
    assert "must be at most the beam size, 3" in refused(translate.main, made[0], "--nbest", 4)
    monkeypatch.setattr("recipes.cli.find_spec", lambda name: None)
    for command in (export.main, translate.main):
        arguments = (with_codes, tmp_path / "out") if command is export.main else (made[0],)
        assert refused(command, *arguments).startswith("not installed: ctranslate2;")


def test_a_run_that_decodes_as_ctranslate2_cannot(with_codes, tmp_path):
    run = copy_of(with_codes, tmp_path)
    config = (run / "train.yaml").read_text().replace("generation:", "generation:\n  diverse_beam_groups: 3", 1)
    (run / "train.yaml").write_text(config)
    assert "cannot decode with diverse_beam_groups=3" in refused(export.main, run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_spoiled_export_is_refused(made, with_codes, tmp_path):
    right = (made[0] / "export.json").read_text()
    beam = right.replace('"beam": 3', '"beam": "x"'), right.replace('"lenpen"', '"other"')
    assert right not in beam
    for name, text in (
        *(("export.json", text) for text in ("{", '{"source": "de"}', *beam)),
        ("model.bin", ""),
    ):
        spoiled = shutil.copytree(made[0], tmp_path / "spoiled", dirs_exist_ok=True)
        (spoiled / name).write_text(text)
        assert str(spoiled) in refused(translate.main, spoiled, text_of(with_codes))
    (spoiled / "prepared/bpe/codes").unlink()
    assert "has no codes of the subwords" in refused(translate.main, spoiled)


def test_a_compute_type_that_the_cpu_lacks_is_said(with_codes, tmp_path, monkeypatch):
    monkeypatch.setattr(CTranslate2Engine, "other_type", "float32")
    said = call(export.main, with_codes, tmp_path / "out", "--quantization", "float16", "--check", 0).stdout
    assert "This CPU lacks float16: CTranslate2 computes in float32 here\n" in said


ARCH = {"arch": "transformer_iwslt_de_en", "dropout": 0.1}


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"adaptive_softmax_cutoff": "10,20"}, "an adaptive softmax"),
        ({"no_cross_attention": True}, "a decoder without attention to the source"),
        ({"no_token_positional_embeddings": True}, "no positions"),
        ({"quant_noise_scalar": 0.1}, "weights that are rounded in each forward (quant_noise.scalar)"),
        ({"quant_noise_pq": 0.1}, "a layer for quantization noise (quant_noise.pq)"),
        ({"decoder_output_dim": 8}, "another size of the decoder's output than of its layers"),
        ({}, "the parameters decoder.layers.0.attn_ln.weight"),
    ],
)
def test_models_that_it_cannot_hold(changes, reason):
    parameters = dict.fromkeys(["encoder.layers.0.fc1.weight", "decoder.layers.0.attn_ln.weight"], torch.zeros(1))
    with pytest.raises(SystemExit, match="cannot hold this model: it has") as refusal:
        refuse_what_it_cannot_hold(settings_of(ARCH | changes), parameters)
    assert str(refusal.value).endswith(f"it has {reason}")


def test_a_model_that_is_no_transformer():
    with pytest.raises(SystemExit, match="it is 'lstm', and no Transformer"):
        settings_of({"_name": "lstm"})


def test_settings_in_sections_win_over_those_beside_them():
    """Check it against the model that fairseq builds: hydra's config has defaults beside the sections."""
    sections = {side: {"embed_dim": 16, "layers": 1} for side in ("encoder", "decoder")}
    flat = settings_of({"_name": "transformer", "encoder_layers": 6, "encoder_embed_dim": 512, **sections})
    assert (flat.encoder_layers, flat.encoder_embed_dim, flat.decoder_input_dim) == (1, 16, 16)
    of_arch = settings_of(ARCH)
    assert (of_arch.encoder_ffn_embed_dim, of_arch.decoder_attention_heads) == (1024, 4)


def readme_functions(prepared: Prepared, source: str, target: str, folder: Path) -> Namespace:
    """Return the functions of a README for a preparation, without the model."""
    facts = Exported(source, target, {"beam": 5, "lenpen": 1.0}, [9, 9], None, "int8", {}, None, [])
    program = program_of(prepared, facts)
    (folder / "codes").write_text("#version: 0.2\nq z\n")
    program.loaded = [line.replace("prepared/bpe/CODES", str(folder / "codes")) for line in program.loaded]
    code = program.write([])
    names: dict = {}
    exec(code[: code.index("def translate")].replace('translator = ctranslate2.Translator(".")', ""), names)
    return Namespace(subwords=names["subwords"], text=names["text"])


def test_the_readme_undoes_what_the_preparation_did(tmp_path):
    one = readme_functions(Prepared("prepare_wmt14.sh", {}, escaped=True), "en", "de", tmp_path)
    assert "".join(one.subwords("“a-b”")).replace("@@", "") == "&quot;a@-@b&quot;"
    assert one.text(["Das", "ist", "&apos;", "gut", "&apos;", "."]) == "Das ist 'gut'."
    lower = readme_functions(Prepared("prepare_text.sh", {}, lowercase=True), "en", "zh", tmp_path)
    assert lower.subwords("Ab .") == ["a@@", "b", "."]
    assert lower.text(["你", "好@@", "吗"]) == "你好吗"
    assert lower.text("我 喜欢 New York 的 天气 。".split()) == "我喜欢New York的天气。"
    thai = readme_functions(Prepared("prepare_text.sh", {"tokenized": True}), "en", "th", tmp_path)
    assert thai.text("ฉัน ชอบ กิน 3 ข้าว".split()) == "ฉันชอบกิน 3 ข้าว"
    tokens = readme_functions(Prepared("prepare_text.sh", {"tokenized": True}), "en", "de", tmp_path)
    assert tokens.subwords("a.b &c;") == ["a@@", ".@@", "b", "&@@", "c@@", ";"]
