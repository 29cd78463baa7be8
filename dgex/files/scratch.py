"""A matrix on disk for the time being: where data pass through that memory need not hold."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dgex.errors import DgexError
from dgex.files.atomic import need_room, reserve


class Scratch:
    """A float32 matrix in a nameless file beside the output, freed by the system however the process ends.

    Plain reads and writes rather than a memory map, whose pages would count as the process's memory.
    """

    def __init__(self, folder: Path, shape: tuple[int, int]) -> None:
        """Raises DgexError where ``folder`` has too little room, as do reads and writes if the disk fails them."""
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
        """Puts ``values`` [rows, columns] where they belong."""
        if values.shape[1] == self.shape[1]:
            self._put(rows.start, 0, values)
        else:
            for row, line in zip(range(rows.start, rows.stop), values, strict=True):
                self._put(row, columns.start, line)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The rows at ascending positions ``rows``: float32 [len(rows), columns]."""
        result = np.empty((len(rows), self.shape[1]), np.float32)
        ends = np.flatnonzero(np.diff(rows) != 1) + 1
        for run in np.split(np.arange(len(rows)), ends):
            if len(run):
                self._get(rows[run[0]], result[run[0] : run[-1] + 1])
        return result

    def _put(self, row: int, column: int, values: np.ndarray) -> None:
        data = np.ascontiguousarray(values, np.float32).data.cast("B")
        at = 4 * (row * self.shape[1] + column)
        with self._guarded():
            while data:
                done = os.pwrite(self._file.fileno(), data, at)
                data, at = data[done:], at + done

    def _get(self, row: int, values: np.ndarray) -> None:
        data = values.data.cast("B")
        at = 4 * row * self.shape[1]
        with self._guarded():
            while data:
                done = os.preadv(self._file.fileno(), [data], at)
                if not done:
                    raise EOFError("read beyond what was written")
                data, at = data[done:], at + done

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DgexError(f"{self._folder}: has no scratch space ({error.strerror}); make room") from error
