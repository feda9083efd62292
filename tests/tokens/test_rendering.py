from stand_ins.tokenizers import build_tokenizer


def test_a():
    build_tokenizer()
