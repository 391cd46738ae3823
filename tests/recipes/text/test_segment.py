"""recipes/text/segment.py: words of languages that write no spaces, joined again, and text that is not segmented."""

from collections import Counter

import pytest
from recipes.text import moses, segment

THAI = "ฉันชอบกินข้าวผัดกับไก่ทอดมากที่สุดในโลก"
THAI_WORDS = "ฉัน ชอบ กิน ข้าวผัด กับ ไก่ ทอด มาก ที่สุด ใน โลก"


@pytest.mark.parametrize(
    ("lang", "text", "words"),
    [
        ("ja", "これは本です。「はい」、と言った。", "これ は 本 です 。 「 はい 」 、 と 言っ た 。"),
        ("jpn_Jpan", "東京に行く！", "東京 に 行く ！"),
        ("zh", "我爱北京天安门。", "我 爱 北京 天安门 。"),
        ("zh_CN", "我爱 北京", "我 爱 北京"),
        ("ja", "", ""),
    ],
)
def test_words_and_back(lang: str, text: str, words: str) -> None:
    assert moses.tokenizer(lang)([text]) == [words]
    assert segment.join([words], lang) == [text.replace(" ", "")]


def test_words_have_moses_escapes_if_the_rules_ask_for_them() -> None:
    assert moses.tokenizer("ja", moses.Rules(escape=True))(["犬 & 猫"]) == ["犬 &amp; 猫"]


@pytest.mark.parametrize(
    ("lang", "tokens", "text"),
    [
        ("ja", "New York の iPhone 3 台 。", "New YorkのiPhone 3台。"),
        ("th", "ฉัน มี iPhone 3 เครื่อง", "ฉันมี iPhone 3 เครื่อง"),
        ("my", "ကျွန်တော် စား တယ် ။", "ကျွန်တော်စားတယ်။"),
        ("khm_Khmr", "ខ្ញុំ ស្រឡាញ់ អ្នក", "ខ្ញុំស្រឡាញ់អ្នក"),
        ("ko", "안녕 하세요 。", "안녕 하세요 。"),
        ("en", "A Thai word: ฉัน มี", "A Thai word: ฉัน มี"),
    ],
)
def test_words_are_joined_where_the_language_writes_no_space(lang: str, tokens: str, text: str) -> None:
    assert segment.join([tokens], lang) == [text]


def test_without_a_segmenter_each_character_is_a_token_if_the_rules_say_so() -> None:
    assert moses.tokenizer("th", moses.Rules(characters=True))(["ไก่ 2"]) == ["ไ ก ่ 2"]
    assert moses.tokenizer("de", moses.Rules(characters=True))(["Ein Hund."]) == ["Ein Hund ."]


@pytest.mark.parametrize(
    ("text", "unsegmented"),
    [
        (THAI, True),
        (THAI_WORDS, False),
        ("これは本です。「はい」、と言った。", True),
        ("これ は 本 です 。 「 はい 」 、 と 言っ た 。", False),
        ("안녕하세요저는학생입니다그리고한국에삽니다", True),
        ("안녕하세요 저는 학생입니다 그리고 한국에 삽니다", False),
        ("Ein deutscher Satz mit 一二三四五六七八九十", False),
        ("Donaudampfschifffahrtsgesellschaftskapitän", False),
        ("", False),
    ],
)
def test_text_that_nobody_segmented_is_seen(text: str, unsegmented: bool) -> None:
    assert segment.is_unsegmented(Counter(segment.runs(text))) is unsegmented
