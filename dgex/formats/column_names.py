"""Valid and unique names for the metadata columns of an output file."""

from collections.abc import Collection, Iterable

# Tabs and line ends would break a line of text, and NUL ends a name in HDF5.
BREAKS = str.maketrans("\t\n\r", "   ", "\0")


def one_line(texts: Iterable[str]) -> list[str]:
    """Replaces tabs and line ends in texts by spaces."""
    return [text.translate(BREAKS) for text in texts]


def column_names(names: Iterable[str], taken: Collection[str], slash: str = "/") -> list[str]:
    """Makes column names valid and unique: the first of several equal names keeps it, the others become dose_2, ...

    Args:
      names: the names wanted, in order.
      taken: names that the file format needs for itself.
      slash: the replacement for a slash, which would open a group in HDF5.

    Returns:
      One name for each of ``names``.
    """
    wanted = [
        "unnamed" if name in ("", ".") else name.replace("/", slash).encode("utf-8", "replace").decode()
        for name in one_line(names)
    ]
    free, used = set(wanted) - set(taken), {*wanted, *taken}
    result = []
    for name in wanted:
        if name in free:
            free.remove(name)
        else:
            stem, number = name, 2
            while (name := f"{stem}_{number}") in used:
                number += 1
            used.add(name)
        result.append(name)
    return result
