"""Whether a folder holds the run that is asked for: one JSON file that says what the run is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dgex.atomic import replacing
from dgex.errors import DgexError


def claim(path: Path, identity: Mapping[str, Any], resume: bool) -> None:
    """Makes a folder a run's own by writing ``identity`` to ``path`` inside it, or sees that it is that run's already.

    Raises:
      DgexError: the folder holds a run already (without ``resume``) or another run (with it), or cannot be written to.
    """
    wanted = json.dumps(identity, indent=1)
    if not path.exists():
        with replacing(path) as partial:
            partial.write_text(wanted)
        return
    if not resume:
        raise DgexError(f"{path.parent}: holds a run already; continue it with --resume, or choose another folder")
    try:
        found = dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise DgexError(f"{path}: does not say what the folder holds ({error}); choose another folder") from error
    differs = [key for key, value in json.loads(wanted).items() if found.get(key) != value]
    if differs:
        raise DgexError(
            f"{path.parent}: holds another run, whose {', '.join(differs)} differ from what is asked for; "
            "choose another folder, or ask for the run it holds"
        )
