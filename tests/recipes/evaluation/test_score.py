"""scripts/score.py: BLEU as multi-bleu.perl prints it, compound splitting, plain text, all scores together."""

import pytest
from recipes import cli
from recipes.evaluation import score
from recipes.text import moses, segment
from recipes.text.moses import plain_text
from support import command_line

LINE = "a b c d e f"


# The lines were printed by Moses' scripts/generic/multi-bleu.perl (commit 31473d8) under Perl 5.36.
@pytest.mark.parametrize(
    "hypothesis, references, printed",
    [
        ([LINE], [[LINE]], "100.00, 100.0/100.0/100.0/100.0 (BP=1.000, ratio=1.000, hyp_len=6, ref_len=6)"),
        (["a b c d e x"], [[LINE]], "75.98, 83.3/80.0/75.0/66.7 (BP=1.000, ratio=1.000, hyp_len=6, ref_len=6)"),
        (["A b c d e f"], [[LINE]], "75.98, 83.3/80.0/75.0/66.7 (BP=1.000, ratio=1.000, hyp_len=6, ref_len=6)"),
        # no 4-gram in common: 0, not smoothed
        (["a b c x e f"], [[LINE]], "0.00, 83.3/60.0/25.0/0.0 (BP=1.000, ratio=1.000, hyp_len=6, ref_len=6)"),
        (["a b c"], [["a b c"]], "0.00, 100.0/100.0/100.0/0.0 (BP=1.000, ratio=1.000, hyp_len=3, ref_len=3)"),
        # a no-break space is a letter for Perl, and so are the other spaces outside ASCII
        (["a\u00a0b c d e f"], [[LINE]], "54.75, 80.0/75.0/66.7/50.0 (BP=0.819, ratio=0.833, hyp_len=5, ref_len=6)"),
        (
            ["a\u00a0b c d e f"],
            [["a\u00a0b c d e f"]],
            "100.00, 100.0/100.0/100.0/100.0 (BP=1.000, ratio=1.000, hyp_len=5, ref_len=5)",
        ),
        (
            ["a\u00a0b c d e f"],
            [["a\u2003b c d e f"]],
            "66.87, 80.0/75.0/66.7/50.0 (BP=1.000, ratio=1.000, hyp_len=5, ref_len=5)",
        ),
        (
            ["a\x1cb c\u3000d e f\x85"],
            [["a\x1cb c\u3000d e f\x85"]],
            "100.00, 100.0/100.0/100.0/100.0 (BP=1.000, ratio=1.000, hyp_len=4, ref_len=4)",
        ),
        # what stands for such a space inside score.py is none of the letters of the text
        (
            ["\ue000b c d e f"],
            [["\u00a0b c d e f"]],
            "66.87, 80.0/75.0/66.7/50.0 (BP=1.000, ratio=1.000, hyp_len=5, ref_len=5)",
        ),
        (
            [" a\tb  c d\ve\ff\r"],
            [[LINE]],
            "100.00, 100.0/100.0/100.0/100.0 (BP=1.000, ratio=1.000, hyp_len=6, ref_len=6)",
        ),
        # empty lines count for the lengths alone
        (
            [LINE, ""],
            [[LINE, LINE]],
            "36.79, 100.0/100.0/100.0/100.0 (BP=0.368, ratio=0.500, hyp_len=6, ref_len=12)",
        ),
        ([LINE, LINE], [[LINE, ""]], "50.00, 50.0/50.0/50.0/50.0 (BP=1.000, ratio=2.000, hyp_len=12, ref_len=6)"),
        ([""], [[""]], "0, 0/0/0/0 (BP=0, ratio=0, hyp_len=0, ref_len=0)"),
        # two references equally near in length: the shorter counts, whichever comes first
        (
            ["a b c d e f g h"],
            [[LINE], ["a b c d e f g h i j"]],
            "100.00, 100.0/100.0/100.0/100.0 (BP=1.000, ratio=1.333, hyp_len=8, ref_len=6)",
        ),
        (
            ["a b c d e f g h"],
            [["a b c d e f g h i j"], [LINE]],
            "100.00, 100.0/100.0/100.0/100.0 (BP=1.000, ratio=1.333, hyp_len=8, ref_len=6)",
        ),
        (
            ["a b c d e f g h i j"],
            [["a b c d e f g"], ["a b c d x f g h i j k l"], ["f g h i j k l m"]],
            "96.22, 100.0/100.0/100.0/85.7 (BP=1.000, ratio=1.250, hyp_len=10, ref_len=8)",
        ),
        # an n-gram counts as often as in the reference that has it most often
        (
            ["the the the the the the the"],
            [["the cat is on the mat"], ["there is a cat on the mat"]],
            "0.00, 28.6/0.0/0.0/0.0 (BP=1.000, ratio=1.000, hyp_len=7, ref_len=7)",
        ),
        # 100 * (23 / 80) prints as 28.7, 100 * 23 / 80 as 28.8
        (
            [" ".join("a" * 23 + "x" * 57)],
            [[" ".join("a" * 23 + "y" * 57)]],
            "27.35, 28.7/27.8/26.9/26.0 (BP=1.000, ratio=1.000, hyp_len=80, ref_len=80)",
        ),
    ],
)
def test_the_line_of_multi_bleu(hypothesis, references, printed):
    assert score.multi_bleu_line(score.multi_bleu(hypothesis, references)) == f"BLEU = {printed}"


def test_empty_hypotheses_alone_score_0_where_multi_bleu_divides_by_it():
    line = score.multi_bleu_line(score.multi_bleu(["", ""], [[LINE, LINE]]))
    assert line == "BLEU = 0.00, 0.0/0.0/0.0/0.0 (BP=0.000, ratio=0.000, hyp_len=0, ref_len=12)"


# Printed by perl -ple 's{(\S)-(\S)}{$1 ##AT##-##AT## $2}g', which is what compound_split_bleu.sh runs.
@pytest.mark.parametrize(
    "line, printed",
    [
        ("rich-text format - x", "rich ##AT##-##AT## text format - x"),
        ("a-b-c", "a ##AT##-##AT## b-c"),
        ("a-é-c", "a ##AT##-##AT## é ##AT##-##AT## c"),
        ("é-é", "é ##AT##-##AT## é"),
        ("a--b -a a-", "a ##AT##-##AT## -b -a a-"),
        ("x-\u00a0y", "x ##AT##-##AT## \u00a0y"),
    ],
)
def test_compounds_are_split_as_perl_splits_them(line, printed):
    assert score.split_compounds(line) == printed


@pytest.mark.parametrize(
    "tokens, lang, escaped, text",
    [
        ("it &apos;s &quot; R &amp; D &quot; &#91; 1 &#93; .", "en", True, """it's "R & D" [1]."""),
        ("&amp;lt; a", "en", True, "&lt; a"),
        ("it 's &amp; so", "en", False, "it's &amp; so"),  # text that was never escaped says &amp; itself
        ("l&apos; eau &amp; la vie", "fr", True, "l'eau & la vie"),
        ("", "en", True, ""),
        ("我们 用 New York 的 3 台 iPhone ， 好 吗 ？", "zh", False, "我们用New York的3台iPhone，好吗？"),
        ("他 说 ： “ 你好 ！ ” （ 笑声 ）", "zh", True, "他说：“你好！”（笑声）"),
        ("R &amp; D 部门", "zh", True, "R & D部门"),
        ("&lt; a , b &gt;", "en", True, "< a, b >"),
    ],
)
def test_plain_text(tokens, lang, escaped, text):
    assert plain_text([tokens], lang, escaped) == [text]


def test_all_scores_of_a_text():
    result = score.scores(
        [["a well-known cat sat", "yes ."], ["a well-known cat sat", "no ."], ["the cat sits", "yes , yes"]],
        [["a well-known cat sat", "yes."], ["a well-known cat sat", "no."], ["the cat sits", "yes, yes"]],
        "en",
    )
    assert result["sentences"] == 2
    # both lines were printed by multi-bleu.perl, the second after the substitution
    tokenized = "BLEU = 93.06, 100.0/75.0/100.0/100.0 (BP=1.000, ratio=1.000, hyp_len=6, ref_len=6)"
    split = "BLEU = 95.54, 100.0/83.3/100.0/100.0 (BP=1.000, ratio=1.000, hyp_len=8, ref_len=8)"
    assert result["tokenized_bleu_line"] == tokenized
    assert result["tokenized_bleu"] == pytest.approx(100 * (3 / 4) ** 0.25)
    assert result["compound_split_bleu_line"] == split
    assert result["compound_split_bleu"] == pytest.approx(100 * (5 / 6) ** 0.25)
    assert result["bleu_signature"].startswith("nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|")
    assert result["chrf_signature"].startswith("nrefs:2|case:mixed|eff:yes|nc:6|nw:0|")
    printed = score.describe("made_up", result).splitlines()
    assert printed[0] == "made_up (2 sentences)"
    assert printed[1].split() == ["sacreBLEU", f"{result['bleu']:.2f}", result["bleu_signature"]]
    assert printed[2].split(maxsplit=1) == ["multi-bleu", tokenized]
    assert printed[3].removeprefix("  multi-bleu, compounds split").strip() == split
    assert printed[4].split() == ["chrF", f"{result['chrf']:.2f}", result["chrf_signature"]]


def test_texts_of_different_lengths_are_refused():
    """sacrebleu scores as many lines as the shortest has."""
    one, two = [LINE], [LINE, LINE]
    for hypothesis, references in ((two, [one]), (one, [two]), (two, [two, one])):
        with pytest.raises(ValueError, match=r"[12] hypotheses, and a reference of [12] lines"):
            score.multi_bleu(hypothesis, references)
    right = {"tok": [two, two], "txt": [two, two]}
    score.scores(**right, lang="en")
    for name in right:
        for wrong in ([one, two], [two, two, one]):
            with pytest.raises(ValueError, match=r"[12] hypotheses, and a reference of [12] lines"):
                score.scores(**right | {name: wrong}, lang="en")


def test_where_fairseq_score_counts_otherwise(tmp_path):
    """After compound splitting compound_split_bleu.sh runs fairseq-score, and this multi-bleu.perl's count."""
    plain = "rich ##AT##-##AT## text of six words"
    for line, alike in ((plain, True), ("", False), ("a\u00a0b c d e f", False), ("a b c <unk> d e f", False)):
        score.write_lines(tmp_path / "text", [plain, line])
        printed = command_line.run("fairseq_cli.score", "-s", tmp_path / "text", "-r", tmp_path / "text").stdout
        theirs = printed.splitlines()[-1].removeprefix("BLEU4 = ").replace("syslen", "hyp_len").replace("ref", "ref_")
        ours = score.multi_bleu_line(score.multi_bleu([plain, line], [[plain, line]])).removeprefix("BLEU = ")
        assert (ours == theirs) == alike, line


def test_a_text_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "text").write_bytes(b"one\nt\xffo\n")
    with pytest.raises(SystemExit, match="text is no text in UTF-8: invalid start byte at byte 5"):
        score.read_lines(tmp_path / "text")


def test_lower_cased_text_is_scored_lower_cased():
    tok, txt = [["a cat sat down ."]] * 2, [["a cat sat down."], ["A Cat sat down."]]
    cased = score.scores(tok, txt, "en")
    lower = score.scores(tok, txt, "en", lowercase=True)
    assert lower["bleu"] == pytest.approx(100) and lower["chrf"] == pytest.approx(100)
    assert cased["bleu"] < 90 and cased["chrf"] < 90
    assert "|case:lc|" in lower["bleu_signature"] and "|case:lc|" in lower["chrf_signature"]
    assert "lower-cased" in score.describe("x", lower) and "lower-cased" not in score.describe("x", cased)


def test_chinese_is_scored_by_character():
    result = score.scores(
        [["我 爱 北京 天安门"], ["我 爱 北京天安门"]], [["我爱北京天安门"], ["我爱北京 天安门"]], "zh"
    )
    assert "|tok:zh|" in result["bleu_signature"] and result["bleu"] == pytest.approx(100)
    assert "hyp_len=4, ref_len=3" in result["tokenized_bleu_line"]
    lines = score.describe("x", result).splitlines()
    assert "sacreBLEU" in lines[1] and "segment" in lines[2]


@pytest.mark.parametrize(
    ("lang", "text", "tokenizer"),
    [
        ("ja", "東京に行く人は多いです。", "ja-mecab"),
        ("jpn_Jpan", "東京に行く人は多いです。", "ja-mecab"),
        ("ko", "저는 한국에 사는 학생입니다.", "ko-mecab"),
        ("th", "ฉันชอบกินข้าวผัดกับไก่ทอด", "char"),
        ("zh_CN", "我爱北京天安门。", "zh"),
    ],
)
def test_a_perfect_translation_scores_100_in_languages_without_spaces(lang, text, tokenizer):
    tokens = segment.characters(text) if lang == "th" else moses.tokenizer(lang)([text])[0]
    result = score.scores([[tokens]] * 2, [plain_text([tokens], lang, False), [text]], lang)
    assert f"|tok:{tokenizer}" in result["bleu_signature"]
    assert [result["bleu"], result["tokenized_bleu"], result["chrf"]] == pytest.approx([100, 100, 100])
    other = score.scores([[tokens]] * 2, [[text[: len(text) // 2]], [text]], lang)
    assert 0 < other["bleu"] < 90


def test_a_missing_tokenizer_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"^not installed: mecab-python3 ipadic; run make install, or activate"):
        score.text_metrics("ja", False)
    score.text_metrics("de", False)


def test_lines_end_at_newlines_alone(tmp_path):
    lines = ["one\u2028more", "with\rreturn", "", "\u0085"]
    score.write_lines(tmp_path / "text", lines)
    assert (tmp_path / "text").read_bytes().count(b"\n") == 4
    assert score.read_lines(tmp_path / "text") == lines
