"""Names that columns of metadata can have in a file."""

from collections.abc import Collection, Iterable

# Tabs and line ends break a line of text, NUL ends a name in HDF5.
BREAKS = str.maketrans("\t\n\r", "   ", "\0")


def one_line(texts: Iterable[str]) -> list[str]:
    """Texts without tabs and line ends, in place of which they have spaces."""
    return [text.translate(BREAKS) for text in texts]


def column_names(names: Iterable[str], taken: Collection[str], slash: str = "/") -> list[str]:
    """Names, each once, for columns that want ``names``: the first to want one has it, the others get a number: dose_2.

    Args:
      taken: names that the file needs for itself.
      slash: what stands for a slash, which opens a group in HDF5.
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
