"""The exception for errors that the user can correct, and the escaping of text from files."""


def visible(text: str) -> str:
    """Escapes unprintable characters, as ``repr`` does: text from files must not move a terminal's cursor or add lines.

    Letters of any script stay as they are. Escape sequences, line ends, tabs, directional marks and undecodable bytes
    become ``\\x1b``, ``\\n``, ``\\u202e``, ...
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


class DgexError(Exception):
    """Reports an error that the user can correct.

    The message is one ``visible`` line: which file or value, what is wrong with it, and what to do. The commands print
    it without a traceback and exit with status 2 (see ``dgex.console``).
    """

    def __str__(self) -> str:
        """Returns the message with unprintable characters escaped."""
        return visible(super().__str__())
