"""The one exception of the project that speaks to its user, and how text from files is shown to one."""


def visible(text: str) -> str:
    """Escapes what would not print, as ``repr`` does: text from files must not move a terminal's cursor or add lines.

    Letters of any script stay; escape sequences, line ends, tabs, directional marks and undecodable bytes become
    ``\\x1b``, ``\\n``, ``\\u202e``, ...
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


class DgexError(Exception):
    """Something the user can put right.

    The message is one ``visible`` line: which file or value, what is wrong with it, and what to do. The commands print
    it without a traceback and exit with status 2 (see ``dgex.console``).
    """

    def __str__(self) -> str:
        return visible(super().__str__())
