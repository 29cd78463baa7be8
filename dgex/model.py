"""A trained model: the network and all that one new profile needs to become its input, and its output's worth."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dgex.dataset import Reference
from dgex.errors import DgexError
from dgex.factors import Factors
from dgex.networks import NetworkConfig, Params
from dgex.normalization import Ties, standardize, to_quantiles
from dgex.reliability import Reliability

# RNA-seq has ties by the hundred (zeros) and arrays have few, for which any rule does.
TIES: Ties = "rank"


@dataclass(frozen=True)
class Model:
    """A network with its genes and normalisation.

    A plate measures landmarks alone, so a profile is brought to a reference of landmarks alone: its values take the
    places of ``reference.quantiles``, the mean of the training profiles' sorted landmark values. The network
    was trained on landmarks that went through the same.

    Attributes:
      config: of the network.
      params: of the network, f4 on the host.
      reference: genes; scalers; ``quantiles`` are those of the landmarks. Its targets' log2 values are on the scale of
        the prepared file.
      factors: what landmark profiles look like.
      reliability: of every target.
      provenance: data, protocol, seed, versions and scores of the training, as JSON has them.
      source: where the model was read from: "name" of the directory, and "sha256", the digest of its SHA256SUMS; empty
        for a model made in memory. What ``dataclasses.replace`` makes is another model, and has none.
    """

    config: NetworkConfig
    params: Params
    reference: Reference
    factors: Factors
    reliability: Reliability
    provenance: dict[str, Any]
    source: dict[str, str] = field(default_factory=dict, init=False, compare=False)

    @cached_property
    def inferred(self) -> np.ndarray:
        """The targets that are no landmark too, whose measured value stands: positions, int ``[inferred]``."""
        return np.flatnonzero(~self.reference.overlap)

    def normalize(self, landmark: np.ndarray) -> np.ndarray:
        """Landmarks in log2 of any level, ``[profiles, landmarks]``, onto the quantiles, one profile at a time."""
        return to_quantiles(landmark, self.reference.quantiles, TIES)

    def standardize(self, landmark: np.ndarray) -> np.ndarray:
        """The network's input, z-scores, from landmarks in log2 of any level, both f4 ``[profiles, landmarks]``."""
        return standardize(self.normalize(landmark), self.reference.landmark_scaler)

    @property
    def believable(self) -> tuple[float, float]:
        """The least and the greatest log2 value that an inferred gene may have.

        All training profiles took the same quantiles, so that no gene left their range. Allowed is as much again to
        either side: on 1,736 profiles of arrays, RNA-seq and L1000 the shipped model infers -1.0 to 14.2, and may
        infer -9.7 to 24.2.
        """
        smallest, largest = map(float, self.reference.quantiles[[0, -1]])
        return 2 * smallest - largest, 2 * largest - smallest

    def check_inferred(
        self, name: Path | str, sample_id: Sequence[str], values: np.ndarray, targets: np.ndarray, *, log2: bool
    ) -> None:
        """Refuses inferred values that are not finite, or not ``believable``: weights that give such are damaged.

        Args:
          name: of the table, for messages.
          values: ``[profiles, genes]``, in log2 or else z-scores.
          targets: which they are, positions ``[genes]``.

        Raises:
          DgexError: there is such a value; the first is named.
        """
        bounds = np.array(self.believable)[:, None]
        if not log2:
            bounds = (bounds - self.reference.target_scaler.mean[targets]) / self.reference.target_scaler.sd[targets]
        smallest, largest = np.broadcast_to(bounds, (2, len(targets)))
        if values.min() >= smallest.max() and values.max() <= largest.min():
            return  # as nearly always, and found out in a fraction of the time
        within = (values.min(axis=0) >= smallest) & (values.max(axis=0) <= largest)  # NaN never is
        if not within.all():
            gene = int(within.argmin())
            profile = int(((values[:, gene] >= smallest[gene]) & (values[:, gene] <= largest[gene])).argmin())
            least, most = self.believable
            raise DgexError(
                f"{name}: the model infers {values[profile, gene]:g} ({'log2' if log2 else 'z-score'}) of "
                f"{self.reference.target_genes.ensembl[targets[gene]]} for {sample_id[profile]}, far beyond its "
                f"training data (log2 {least:.3g} to {most:.3g} are believable); fetch or make the model again, or "
                "leave the profile out"
            )

    def predict(self, data: Any, *, layer: str | None = None, **request: Any) -> Any:
        """Whole profiles from landmarks in memory, a row of the result for every profile.

        Args:
          data: an array ``[profiles, landmarks]`` with the landmarks in the order of ``reference.landmark_genes``; a
            pandas DataFrame or an AnnData with genes on either axis, by any of their names.
          layer: of an AnnData, the matrix to take instead of X: a name in its ``layers``, or "raw".
          request: fields of ``dgex.prediction.Request``, such as ``input_scale="log2"``, ``output_scale="zscore"``,
            ``all_targets=True`` or ``interval=0.9``.

        Returns:
          What was given: a float32 array ``[profiles, rows]`` in the order of ``dgex.prediction.rows_of``; a DataFrame
          with the orientation it came in; or an AnnData of profiles x rows, with what is said of each row in ``var``.
          What made it (dgex's version, the model, the request) is ``attrs["provenance"]`` of a DataFrame and
          ``uns["provenance"]`` of an AnnData.

        Raises:
          DgexError: as ``dgex.prediction.predict``.

        Warns of landmarks that are filled in, and of profiles out of range.
        """
        from dgex.in_memory import predict_data  # which imports this module

        return predict_data(self, data, layer, **request)
