"""Shows a prediction as one HTML page, for people: how far it can be trusted, profile by profile and gene by gene."""

import html
import os
from dataclasses import dataclass
from pathlib import Path

from dgex.errors import DgexError
from dgex.files.atomic import check_writable, replacing
from dgex.files.optional import need

ENDINGS = (".html", ".htm")


@dataclass(frozen=True)
class Page:
    """Holds the report of a prediction, which a notebook shows.

    Attributes:
      html: the page, which loads nothing from elsewhere.
    """

    html: str

    def _repr_html_(self) -> str:
        """Frames the page, so that its style and script stay apart from those of a notebook."""
        style = "width: 100%; height: 48rem; border: 1px solid #ddd"
        content = html.escape(self.html)
        return f'<iframe sandbox="allow-scripts allow-downloads" style="{style}" srcdoc="{content}"></iframe>'

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the page, whole or not at all.

        Raises:
          DgexError: the path does not end in .html, or cannot be written.
        """
        check_report(Path(path))
        with replacing(path) as partial:
            partial.write_text(self.html, encoding="utf-8")


def check_packages() -> None:
    """Checks that a report can be drawn.

    Raises:
      DgexError: a package is not installed.
    """
    need("matplotlib", "jinja2", extra="plots", what="the report")


def check_report(path: Path, *inputs: Path) -> None:
    """Checks before the work that a report can be drawn, and written to ``path``; creates nothing.

    No output has the ending of a report, so that the two are different files.

    Args:
      path: the HTML file to write.
      *inputs: the files that are read to make the report, and which it must not replace.

    Raises:
      DgexError: a package is not installed; the path does not end in .html, cannot be written or is one of the inputs.
    """
    check_packages()
    check_writable(path, *inputs)
    if path.suffix.lower() not in ENDINGS:
        raise DgexError(f"{path}: is no name of a report; give one that ends in .html")
