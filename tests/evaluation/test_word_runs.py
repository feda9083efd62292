"""What a word is in several scripts, and that what does not matter does not matter."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plaudit.evaluation.word_runs import GRAM_WORDS, hashes_of_runs, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("मैं आज बाज़ार गया था", ["मैं", "आज", "बाज़ार", "गया", "था"]),
        ("สวัสดีครับ วันนี้อากาศดี", ["สวัสดีครับ", "วันนี้อากาศดี"]),
        ("今天2024年, OK", ["今", "天", "2024", "年", "ok"]),
        ("コーヒーをください", ["コーヒー", "を", "く", "だ", "さ", "い"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("L'ÉTÉ à 3,5 m²", ["l", "été", "à", "3", "5", "m²"]),
    ],
)
def test_words_are_those_that_a_reader_sees(text: str, words: list[str]):
    assert words_of(text) == [unicodedata.normalize("NFC", word) for word in words]


@pytest.mark.parametrize(
    "text", ["Éléonore préfère être à Genève", "서울에서", "がぎぐ", "İstanbul", "बाज़ार"]
)
def test_composed_and_decomposed_are_the_same_words(text: str):
    composed, decomposed = unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)
    assert composed != decomposed or text == "बाज़ार"
    assert words_of(composed) == words_of(decomposed)


@given(st.text(st.characters(codec="ascii")))
def test_ascii_words_are_runs_of_letters_and_digits(text: str):
    assert words_of(text) == re.findall(r"[^\W_]+", text.lower())
    # A text with one letter more that is not ASCII takes the other way.
    assert words_of(text + " é") == [*words_of(text), "é"]


def test_runs_have_equal_hashes_where_their_words_are_equal_in_their_order():
    words = [f"w{i}" for i in range(20)]
    runs = hashes_of_runs(words)
    assert len(runs) == len(set(runs.tolist())) == 20 - GRAM_WORDS + 1
    np.testing.assert_array_equal(hashes_of_runs(words[3:]), runs[3:])
    swapped = [words[1], words[0], *words[2:GRAM_WORDS]]
    assert hashes_of_runs(swapped)[0] != runs[0]
    assert len(hashes_of_runs(words[: GRAM_WORDS - 1])) == 0
