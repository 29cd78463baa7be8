"""The one exception of the project that speaks to its user."""


class DgexError(Exception):
    """Something the user can put right.

    The message is one line: which file or value, what is wrong with it, and what to do. The commands print it
    without a traceback and exit with status 2 (see ``dgex.console``).
    """
