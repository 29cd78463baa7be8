"""Names of metadata columns: each once, and such as the format can hold."""

import pytest

from dgex.formats.column_names import column_names, one_line


@pytest.mark.parametrize(
    ("names", "taken", "expected"),
    [
        (["dose", "time"], {"id"}, ["dose", "time"]),
        (["id", "dose"], {"id"}, ["id_2", "dose"]),
        (["id", "id_2"], {"id"}, ["id_3", "id_2"]),  # who asks for a name first has it
        (["a", "a", "a", "a_2"], (), ["a", "a_3", "a_4", "a_2"]),
        (["", ".", "..", "unnamed"], (), ["unnamed", "unnamed_2", "..", "unnamed_3"]),
        (["a\tb", "a\nb", "c\0d", "e\udc80"], (), ["a b", "a b_2", "cd", "e?"]),
        ([], {"id"}, []),
    ],
)
def test_every_column_has_a_name_of_its_own(names, taken, expected):
    assert column_names(names, taken) == expected


def test_a_slash_may_open_a_group():
    assert column_names(["a/b", "a|b", "/"], ()) == ["a/b", "a|b", "/"]
    assert column_names(["a/b", "a|b", "/"], (), slash="|") == ["a|b", "a|b_2", "|"]


def test_one_line():
    assert one_line(["a\tb\r\n", "c\0", "Ä"]) == ["a b  ", "c", "Ä"]
