"""Defines a trained model: the network, the normalisation of its inputs, and the reliability of its predictions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import scipy  # its subpackages are imported on first use

from dgex.data.dataset import Reference
from dgex.data.normalization import Ties, to_quantiles
from dgex.data.platforms import standardize_by_platform
from dgex.errors import DgexError
from dgex.model.imputation import Factors, complete, patterns_of
from dgex.model.reliability import Reliability
from dgex.model.training_map import TrainingMap
from dgex.networks import NetworkConfig, Params

# The rule for RNA-seq, which has hundreds of ties (zeros). Arrays have so few ties that any rule does.
TIES: Ties = "rank"
RANKS = 31  # number of values that represent the distribution of a gene


@dataclass(frozen=True)
class Model:
    """Holds a network with its genes, normalisation, imputation and reliability.

    A plate measures only landmarks, so a profile is quantile-normalised to a reference of landmarks alone: its values
    become ``reference.quantiles``, the mean of the training profiles' sorted landmark values, in the order of their
    ranks. The network was trained on landmarks that were normalised in the same way.

    Attributes:
      config: configuration of the network.
      params: parameters of the network, f4 on the host.
      reference: genes and scalers; ``quantiles`` are those of the landmarks. The log2 values of targets are on the
        scale of the prepared file.
      factors: the distribution of landmark profiles, for imputation, the self-check and the choice of the platform.
      reliability: how far the prediction of each target can be trusted.
      provenance: data, protocol, seed, versions and scores of the training, in types that JSON has.
      gene_quantiles: the reference distribution to which the training profiles' values of all genes, landmarks and
        targets, were quantile-normalised: ascending log2, f4 ``[ranked]``. None in model directories of schema 1, which
        did not keep them.
      training_map: where training profiles lie; None in model directories that do not have it.
      source: where the model was read from: "name" of the directory, and "sha256", the digest of its SHA256SUMS; empty
        for a model made in memory. The model that ``dataclasses.replace`` makes is another one, so its source is empty.
    """

    config: NetworkConfig
    params: Params
    reference: Reference
    factors: Factors
    reliability: Reliability
    provenance: dict[str, Any]
    gene_quantiles: np.ndarray | None = None
    training_map: TrainingMap | None = None
    source: dict[str, str] = field(default_factory=dict, init=False, compare=False)

    @cached_property
    def inferred(self) -> np.ndarray:
        """Lists the positions of the targets that are not landmarks too, int ``[inferred]``; landmarks are measured."""
        return np.flatnonzero(~self.reference.overlap)

    def normalize(self, landmark: np.ndarray) -> np.ndarray:
        """Quantile-normalises landmarks, log2 of any level ``[profiles, landmarks]``, each profile on its own."""
        return to_quantiles(landmark, self.reference.quantiles, TIES)

    def standardize(self, landmark: np.ndarray, platform: int | np.ndarray = 0) -> np.ndarray:
        """Computes the network's input, z-scores, from log2 landmarks of any level.

        Args:
          landmark: log2 ``[profiles, landmarks]``, NaN where missing.
          platform: the position of the platform among ``reference.platforms``, of all profiles or of each.

        Returns:
          z-scores, f4 ``[profiles, landmarks]``.
        """
        code = np.broadcast_to(platform, len(landmark))
        offsets = self.reference.platforms.landmark
        return standardize_by_platform(self.normalize(landmark), self.reference.landmark_scaler, offsets, code)

    def nearest_platform(self, landmark: np.ndarray) -> np.ndarray:
        """Finds the platform whose offsets bring each profile's landmarks nearest to the training data.

        Args:
          landmark: log2 of any level ``[profiles, landmarks]``, NaN where missing.

        Returns:
          Positions among ``reference.platforms``, int ``[profiles]``; of equally near ones the last, which a user
          added.
        """
        count = len(self.reference.platforms.name)
        if count == 1:
            return np.zeros(len(landmark), int)
        normal = self.normalize(landmark)
        scaler, offsets = self.reference.landmark_scaler, self.reference.platforms.landmark
        distance = np.empty((count, len(landmark)))
        for code in range(count):
            every = np.full(len(landmark), code)
            distance[code] = complete(standardize_by_platform(normal, scaler, offsets, every), self.factors)[1]
        return count - 1 - distance[::-1].argmin(axis=0)

    @property
    def believable(self) -> tuple[float, float]:
        """Computes the least and the greatest log2 value that an inferred gene may have.

        All training profiles were normalised to the same quantiles, so no gene was outside their range. Predictions may
        exceed it by its own width on either side.
        """
        smallest, largest = map(float, self.reference.quantiles[[0, -1]])
        return 2 * smallest - largest, 2 * largest - smallest

    def check_inferred(
        self, label: str, sample_id: Sequence[str], values: np.ndarray, targets: np.ndarray, *, log2: bool
    ) -> None:
        """Refuses inferred values that are not finite or not ``believable``, which come from damaged weights.

        Args:
          label: what messages call the table.
          sample_id: the names of the profiles, for messages.
          values: inferred values ``[profiles, genes]``.
          targets: positions of these genes among the targets, ``[genes]``.
          log2: whether the values are log2; otherwise they are z-scores.

        Raises:
          DgexError: there is such a value; the message names the first.
        """
        bounds = np.array(self.believable)[:, None]
        if not log2:
            bounds = (bounds - self.reference.target_scaler.mean[targets]) / self.reference.target_scaler.sd[targets]
        smallest, largest = np.broadcast_to(bounds, (2, len(targets)))
        if values.min() >= smallest.max() and values.max() <= largest.min():
            return  # nearly always so, and this test takes a fraction of the time of the next
        within = (values.min(axis=0) >= smallest) & (values.max(axis=0) <= largest)  # NaN never is
        if not within.all():
            gene = int(within.argmin())
            profile = int(((values[:, gene] >= smallest[gene]) & (values[:, gene] <= largest[gene])).argmin())
            least, most = self.believable
            raise DgexError(
                f"{label}: the model infers {values[profile, gene]:g} ({'log2' if log2 else 'z-score'}) of "
                f"{self.reference.target_genes.ensembl[targets[gene]]} for {sample_id[profile]}, far beyond its "
                f"training data (log2 {least:.3g} to {most:.3g} are believable); fetch or make the model again, or "
                "leave the profile out"
            )

    def standardize_targets(self, values: np.ndarray, platform: int | np.ndarray = 0) -> np.ndarray:
        """Computes the z-scores of measured targets, for comparison with inferred ones, from whole log2 profiles.

        Each profile is quantile-normalised on its own, to the quantiles that its measured genes have in the training
        data.

        Args:
          values: landmarks and then targets, log2 of any level, f4 ``[profiles, landmarks + targets]``, NaN where
            missing.
          platform: as in ``standardize``.

        Returns:
          f4 ``[profiles, targets]``, NaN where missing.
        """
        normal = np.empty(values.shape, np.float32)
        for rows, missing in patterns_of(np.isnan(values)):
            normal[rows] = to_quantiles(values[rows], self._quantiles_of(~missing), TIES)
        code = np.broadcast_to(platform, len(values))
        offsets = self.reference.platforms.target
        return standardize_by_platform(normal[:, self.config.landmarks :], self.reference.target_scaler, offsets, code)

    def _quantiles_of(self, genes: np.ndarray) -> np.ndarray:
        """Estimates the distribution of the values that some genes have in the training data.

        A profile of a hundred highly expressed genes must not be spread over the quantiles of all genes. Quantiles of
        the chosen genes are taken from a mixture of normal distributions, one for each gene, and mapped by the function
        that maps the mixture of all genes to ``gene_quantiles``. This is exact for all genes together; without
        ``gene_quantiles`` the mixture is used as it is.

        Args:
          genes: which genes, bool ``[landmarks + targets]``.

        Returns:
          Ascending log2 values.
        """
        pool, mixture, quantiles = self._pool
        return np.interp(np.sort(pool[genes], axis=None), mixture, quantiles)

    @cached_property
    def _pool(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Computes the mixture of normal distributions that ``_quantiles_of`` uses.

        Returns:
          Values of each gene at evenly spaced ranks, f8 ``[landmarks + targets, RANKS]``; all of these in ascending
          order; and the values of ``gene_quantiles`` at the ranks of the latter.
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
