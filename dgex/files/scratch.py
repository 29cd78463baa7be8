"""A temporary float32 matrix on disk, for data that are too large to be held in memory."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dgex.errors import DgexError
from dgex.files.atomic import need_room, reserve


class Scratch:
    """Holds a float32 matrix in a temporary file without a name, which the system frees however the process ends.

    It uses plain reads and writes rather than a memory map, whose pages would count as memory of the process.
    """

    def __init__(self, folder: Path, shape: tuple[int, int]) -> None:
        """Creates the temporary file and allocates its disk space.

        Args:
          folder: where the file lies, usually that of the output.
          shape: the numbers of rows and columns.

        Raises:
          DgexError: ``folder`` has too little free space. Reads and writes raise it too if the disk fails.
        """
        nbytes = 4 * shape[0] * shape[1]
        need_room(folder, nbytes)
        self.shape = shape
        self._folder = folder
        with self._guarded():
            self._file = tempfile.TemporaryFile(dir=folder)
            reserve(self._file.fileno(), nbytes)

    def __enter__(self) -> "Scratch":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, rows: slice, columns: slice, values: np.ndarray) -> None:
        """Writes ``values`` [rows, columns] to the given rows and columns of the matrix."""
        if values.shape[1] == self.shape[1]:
            self._put(rows.start, 0, values)
        else:
            for row, line in zip(range(rows.start, rows.stop), values, strict=True):
                self._put(row, columns.start, line)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Reads the rows at the ascending positions ``rows``: float32 [len(rows), columns]."""
        result = np.empty((len(rows), self.shape[1]), np.float32)
        ends = np.flatnonzero(np.diff(rows) != 1) + 1
        for run in np.split(np.arange(len(rows)), ends):
            if len(run):
                self._get(rows[run[0]], result[run[0] : run[-1] + 1])
        return result

    def _put(self, row: int, column: int, values: np.ndarray) -> None:
        data = np.ascontiguousarray(values, np.float32).data.cast("B")
        offset = 4 * (row * self.shape[1] + column)
        with self._guarded():
            while data:
                nbytes = os.pwrite(self._file.fileno(), data, offset)
                data, offset = data[nbytes:], offset + nbytes

    def _get(self, row: int, values: np.ndarray) -> None:
        data = values.data.cast("B")
        offset = 4 * row * self.shape[1]
        with self._guarded():
            while data:
                nbytes = os.preadv(self._file.fileno(), [data], offset)
                if not nbytes:
                    raise EOFError("read beyond what was written")
                data, offset = data[nbytes:], offset + nbytes

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Turns an OSError of the ``with`` block into a DgexError that names the folder."""
        try:
            yield
        except OSError as error:
            raise DgexError(f"{self._folder}: has no scratch space ({error.strerror}); make room") from error
