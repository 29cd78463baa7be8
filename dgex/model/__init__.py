"""A trained model: the network and all that one new profile needs to become its input, and its output's worth."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.special

from dgex.data.dataset import Reference
from dgex.data.normalization import Ties, standardize, to_quantiles
from dgex.errors import DgexError
from dgex.model.imputation import Factors, patterns_of
from dgex.model.reliability import Reliability
from dgex.networks import NetworkConfig, Params

# RNA-seq has ties by the hundred (zeros) and arrays have few, for which any rule does.
TIES: Ties = "rank"
RANKS = 31  # of a gene's values that stand for its distribution


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
      gene_quantiles: what the training profiles' values of all genes, landmarks and targets, were brought to: ascending
        log2, f4 ``[ranked]``. None in model directories of schema 1, which did not keep them.
    """

    config: NetworkConfig
    params: Params
    reference: Reference
    factors: Factors
    reliability: Reliability
    provenance: dict[str, Any]
    gene_quantiles: np.ndarray | None = None
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

    def standardize_targets(self, values: np.ndarray) -> np.ndarray:
        """The targets' z-scores, to be compared with inferred ones, from whole profiles in log2 of any level.

        Each profile takes by its ranks, on its own, the quantiles that its measured genes have in the training data.

        Args:
          values: landmarks and then targets, f4 ``[profiles, landmarks + targets]``, NaN where not measured.

        Returns:
          f4 ``[profiles, targets]``, NaN where not measured.
        """
        normal = np.empty(values.shape, np.float32)
        for rows, lacking in patterns_of(np.isnan(values)):
            normal[rows] = to_quantiles(values[rows], self._quantiles_of(~lacking), TIES)
        return standardize(normal[:, self.config.landmarks :], self.reference.target_scaler)

    def _quantiles_of(self, genes: np.ndarray) -> np.ndarray:
        """The distribution of some genes' values in the training data, bool ``[landmarks + targets]``: ascending log2.

        A profile of a hundred highly expressed genes must not be spread over the quantiles of all. Their own are taken
        from a mixture of normal distributions, one a gene, and mapped by the function that makes the mixture of all
        genes ``gene_quantiles``: exact for all genes, and without ``gene_quantiles`` as good as the mixture is.
        """
        pool, mixture, quantiles = self._pool
        return np.interp(np.sort(pool[genes], axis=None), mixture, quantiles)

    @cached_property
    def _pool(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values of each gene at evenly spaced ranks, f8 ``[landmarks + targets, RANKS]``.

        And all of these, ascending, with the quantiles that there are in truth at their ranks.
        """
        scalers = self.reference.landmark_scaler, self.reference.target_scaler
        mean, sd = (np.concatenate([vars(scaler)[name] for scaler in scalers]) for name in ("mean", "sd"))
        normal = scipy.special.ndtri((np.arange(RANKS) + 0.5) / RANKS)
        pool = mean[:, None] + sd[:, None] * normal
        mixture = np.sort(pool, axis=None)
        if self.gene_quantiles is None:
            return pool, mixture, mixture
        ranks, known = (np.linspace(0, 1, len(values)) for values in (mixture, self.gene_quantiles))
        return pool, mixture, np.interp(ranks, known, self.gene_quantiles)
