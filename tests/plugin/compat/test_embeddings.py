"""Cutting the embeddings of fairseq's models: which models, which side, and what stays."""

import pytest
import torch
from support.helpers import build_criterion, build_model, build_task, make_sample, train

from rdrop_fairseq.compat.embeddings import NoEmbeddingError, check_embeddings, cut_embeddings, dictionaries_of
from rdrop_fairseq.cutoff import Cutoff

NAME = "rdrop_label_smoothed_cross_entropy"


def cut_of(side="both", replacement="zero", probability=0.5, unit="token"):
    return Cutoff(probability, unit, replacement, side, (1,))


@pytest.fixture
def task():
    return build_task()


def embedded(model, task, cutoff, rows, sample):
    """Return what the encoder's and the decoder's embeddings gave within the context, and the tokens that they got."""
    seen = {}
    coders = {"source": model.encoder, "target": model.decoder}
    running = []
    handles = [
        coder.register_forward_pre_hook(lambda module, args, side=side: running.append(side))
        for side, coder in coders.items()
    ]
    torch.manual_seed(1)
    with cut_embeddings(model, cutoff, dictionaries_of(task), rows):
        handles += [  # after those of the cut
            embedding.register_forward_hook(
                lambda module, args, output: seen.__setitem__(running[-1], (args[0], output.detach()))
            )
            for embedding in {coder.embed_tokens for coder in coders.values()}
        ]
        model.train()(**sample["net_input"])
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("side", ["source", "target", "both"])
@pytest.mark.parametrize("arch", ["transformer", "lstm"])
def test_zero_acts_on_the_side_and_the_rows(task, arch, side, shared):
    """An LSTM encoder turns the padding from left to right before it embeds."""
    model = build_model(task, arch, dropout=0.0, **({"share_all_embeddings": shared} if arch == "transformer" else {}))
    sample = make_sample(task, ((6, 6), (5, 4), (3, 5)))
    plain = embedded(model, task, cut_of(side), [], sample)
    cut = embedded(model, task, cut_of(side, probability=0.999), [slice(1, 3)], sample)
    for name, (tokens, output) in cut.items():
        assert torch.equal(tokens, plain[name][0])
        words = tokens > task.target_dictionary.unk()
        words[0] = False
        if name == "target":
            words[:, 0] = False
        if side in (name, "both"):
            assert not output[words].any()
        assert torch.equal(output[~words], plain[name][1][~words])
        if side not in (name, "both"):
            assert torch.equal(output, plain[name][1])


@pytest.mark.parametrize("unit", ["token", "span"])
def test_unk_takes_the_place_of_words_alone(task, unit):
    model, sample = build_model(task, dropout=0.0), make_sample(task, ((6, 6), (5, 4), (3, 5)))
    unk = task.target_dictionary.unk()
    sample["net_input"]["src_tokens"][1, -2] = unk
    cut = embedded(model, task, cut_of(replacement="unk", unit=unit), [slice(0, 3)], sample)
    for name, tokens in (("source", "src_tokens"), ("target", "prev_output_tokens")):
        before, after = sample["net_input"][tokens], cut[name][0]
        assert before.ne(after).any() and after[before.ne(after)].eq(unk).all()
        assert torch.equal(after[before <= unk], before[before <= unk])


def test_the_prefix_of_the_target_is_never_cut(task):
    model, sample = build_model(task, dropout=0.0), make_sample(task, ((6, 6), (5, 5), (6, 6)))
    tokens = sample["net_input"]["prev_output_tokens"]
    torch.manual_seed(1)
    seen = []
    with cut_embeddings(model, cut_of("target", "zero", 0.999), dictionaries_of(task), [slice(0, 3)], prefix=2):
        model.decoder.embed_tokens.register_forward_hook(lambda module, args, output: seen.append(output.detach()))
        model.train()(**sample["net_input"])
    assert tokens[:, 1:3].gt(task.target_dictionary.unk()).all()
    assert seen[0][:, :3].any(-1).all() and not seen[0][0, 3:].any()


def test_features_are_the_same_at_all_positions(task):
    model, sample = build_model(task, dropout=0.0), make_sample(task, ((6, 6), (5, 4), (3, 5)))
    cutoff = cut_of(unit="feature", probability=0.25)
    plain = embedded(model, task, cutoff, [], sample)
    cut = embedded(model, task, cutoff, [slice(1, 3)], sample)
    for name, (tokens, output) in cut.items():
        before = plain[name][1]
        assert torch.equal(output[0], before[0])
        changed = output.ne(before)
        for row in (1, 2):
            words = tokens[row] != task.target_dictionary.pad()
            assert changed[row][words].all(0).sum() == 2 == changed[row].any(0).sum()  # a quarter of 8


@pytest.mark.parametrize(
    "arch, own, side, message",
    [
        ("transformer_lm_big", {}, "source", "has no encoder"),
        ("lstm_lm", {"criterion": "cross_entropy"}, "source", "has no encoder"),
        ("transformer", {}, "target", None),
        ("transformer_lm_big", {}, "both", None),
        ("lstm_lm", {"criterion": "cross_entropy"}, "target", None),
    ],
)
def test_models_without_that_side(arch, own, side, message):
    task = build_task("rdrop_language_modeling" if arch.endswith(("lm", "lm_big")) else "rdrop_translation")
    model = build_model(task, arch, **own)
    if message is None:
        check_embeddings(model, cut_of(side))
        return
    with pytest.raises(NoEmbeddingError, match=message):
        check_embeddings(model, cut_of(side))
    with pytest.raises(SystemExit, match=f"^error: --rdrop-cutoff 0.1 --rdrop-cutoff-side {side}: .*{message}$"):
        build_criterion("rdrop_cross_entropy", task, rdrop_cutoff=0.1, rdrop_cutoff_side=side).check_model(model)


def test_a_model_without_embeddings_of_tokens_is_refused(task):
    model = build_model(task)
    del model.encoder.embed_tokens
    check_embeddings(model, cut_of("target"))
    for side in ("source", "both"):
        with pytest.raises(NoEmbeddingError, match="has no embeddings of tokens in its encoder"):
            check_embeddings(model, cut_of(side))
    with pytest.raises(NoEmbeddingError, match="Linear has no decoder"):
        check_embeddings(torch.nn.Linear(2, 2), cut_of("target"))


@pytest.mark.parametrize("own", [{}, {"rdrop_cutoff_replacement": "unk"}, {"rdrop_fraction": 0.4}], ids=str)
def test_activations_that_are_computed_twice_see_the_same_cut(task, own):
    sample = make_sample(task)
    steps = [
        train(
            build_criterion(NAME, task, rdrop_cutoff=0.4, **own), build_model(task, checkpoint_activations=on), sample
        )
        for on in (False, True)
    ]
    torch.testing.assert_close(steps[1].loss, steps[0].loss)
    for name, grad in steps[0].grads.items():
        torch.testing.assert_close(steps[1].grads[name], grad)


def test_recurrent_models_take_cuts_and_no_part_of_the_batch(task):
    model, sample = build_model(task, "lstm"), make_sample(task, ((5, 4), (4, 6), (2, 3)))
    assert train(build_criterion(NAME, task, rdrop_cutoff=0.4), model, sample).log["kl_loss"] > 1e-3
    with pytest.raises(SystemExit, match=r"^error: --rdrop-fraction 0.5: must be 1 for a recurrent model$"):
        train(build_criterion(NAME, task, rdrop_fraction=0.5), model, sample)
