"""The clusters of a run: those that it has kept, or new ones."""

from __future__ import annotations

from wsc_ray.recipe.sections import Recipe
from wsc_ray.run_folder import RunFolder
from wsc_ray.storage import as_path
from wsc_ray.stream.clusters import CLUSTERS, Clusters, cluster_patches, read_clusters
from wsc_ray.stream.groups import Groups
from wsc_ray.stream.source import Source


def clusters_of(recipe: Recipe, source: Source, pure: Groups, folder: RunFolder) -> Clusters:
    """Return the clusters of `stream.by: cluster`: those that the run has kept, or new ones.

    Args:
        pure: the groups of the pure class.
        folder: the run folder, which is new, or has been found to hold a run of this recipe.

    Raises:
        DataError: see `cluster_patches`.
        RunFolderError: see `read_clusters`.
    """
    kept = folder.path / CLUSTERS
    if kept.is_file():
        return read_clusters(kept, int(pure.rows.sum()))
    stream = recipe.stream
    features = stream.features or recipe.data.features
    assert features is not None  # a recipe without them is refused
    return cluster_patches(
        source, pure, as_path(features), stream.clusters, recipe.seed, max_bad_fraction=stream.max_bad_fraction
    )
