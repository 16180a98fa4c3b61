"""The clusters of a run: those that it has kept, or new ones."""

from __future__ import annotations

from wsc_ray.recipe.sections import Recipe
from wsc_ray.run_folder import RunFolder
from wsc_ray.storage import as_path
from wsc_ray.stream.clusters import CLUSTERS, Clusters, cluster_patches, read_clusters
from wsc_ray.stream.plan import pure_groups
from wsc_ray.stream.source import Source


def clusters_of(recipe: Recipe, source: Source, folder: RunFolder) -> Clusters | None:
    """Return the clusters of `stream.by: cluster`, those that the run has kept or new ones; None for other settings.

    Raises:
        DataError: see `cluster_patches`.
        RunFolderError: see `read_clusters`.
    """
    if recipe.stream.by != "cluster":
        return None
    groups, kept = pure_groups(source, recipe), folder.path / CLUSTERS
    if kept.is_file():
        return read_clusters(kept, int(groups.rows.sum()))
    features = recipe.stream.features or recipe.data.features
    assert features is not None  # a recipe without them is refused
    return cluster_patches(source, groups, as_path(features), recipe.stream.clusters, recipe.seed)
