"""Whatever a name holds, what is printed of it is one line of letters that no terminal obeys."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from refnet import FormatError
from refnet.text import plain, plain_document, plain_lines, table


@given(st.text(), st.integers(20, 60))
def test_every_text_becomes_one_line_of_printable_letters(text, most):
    line = plain(text, most)
    assert line.isprintable()
    assert len(line) <= most


def test_what_a_terminal_would_obey_is_written_out():
    assert plain("\x1b]0;title\x07") == r"\x1b]0;title\x07"
    assert plain("a\x9bb\u202ec\u200fd\udcffe") == r"a\x9bb\u202ec\u200fd\udcffe"
    assert plain("a\nb\r\nc\u2028d\x85e\tf") == "a b c d e f"


def test_letters_of_all_scripts_and_runs_of_blanks_stay():
    assert plain("  größe   Ключ 图像") == "  größe   Ключ 图像"


def test_a_long_text_keeps_its_ends():
    assert plain("a" * 10**6 + "z", 20) == "aaaaaaaaaa ... aaaaz"
    assert len(plain("\U000e0001" * 10**6, 20)) == 20


def test_an_error_is_one_line_however_long_the_name_in_it():
    said = str(FormatError("\x1b[31m" + "n" * 10**6 + "\nhealthy"))
    assert said.isprintable()
    assert said.endswith("n healthy")
    assert len(said) == 2000


def test_a_document_and_its_keys_are_made_fit_and_numbers_stay():
    made = plain_document({"a\n": ["\x1b", ("x\u202e", 1.5, None)]})
    assert made == {"a ": [r"\x1b", [r"x\u202e", 1.5, None]]}


def test_lines_stay_lines_and_a_cell_of_a_table_is_one():
    assert plain_lines("a\x1b\n b") == "a\\x1b\n b"
    assert table(("name",), [("x\nhealthy",), ("n" * 1000,)]).count("\n") == 2
