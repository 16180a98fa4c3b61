"""The sections of a recipe that say which patches there are: how slides are cut, and the manifest, labels and splits."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from wsc_ray.recipe.section import Fraction, Name, Place, Section

Mpp = Annotated[float, Field(gt=0, le=1000)]  # um/px


class Tile(Section):
    slides: Place | None = Field(
        None,
        description="list of slides, or a folder (or URI) of slides, that `tile` cuts into data.manifest; null: none",
    )
    folder: Place | None = Field(
        None, description="folder (or URI) that the list's paths are relative to; null: the list's own folder"
    )
    columns: dict[Name, Name] = Field(
        {},
        description="column of the list to take path, slide_id, patient_id, label, split, site, mpp or mask from, by that name",
    )
    constants: dict[Name, Name] = Field({}, description="one value for every slide, by one of those names")
    labels: dict[Name, Name] = Field({}, description="label in the manifest, by the label in the list")
    mpp: Mpp | Annotated[list[Mpp], Field(min_length=1, max_length=100)] = Field(
        0.5, description="scale of the patches, um/px; with a list every slide is cut at each scale"
    )
    patch_size: Annotated[int, Field(ge=8, le=16_384)] = Field(256, description="side of a patch, px at that scale")
    overlap: Annotated[int, Field(ge=0, le=16_383)] = Field(
        0, description="overlap of neighbouring patches, px at that scale"
    )
    tissue: Fraction = Field(0.5, description="smallest share of tissue in a patch; 0 keeps every patch")
    masks: Place | None = Field(
        None,
        description="folder (or URI) with tissue masks; null: tissue is detected on slides without a mask in the list",
    )
    quality: Annotated[int, Field(ge=1, le=100)] = Field(90, description="JPEG quality of the patches")
    link: bool = Field(
        False, description="whether to write positions instead of pixels, so that training reads the slides"
    )
    reader: Name = Field("auto", description="slide reader: auto, stored-tiles, openslide, cucim, or a plug-in's")
    skip_bad: bool = Field(False, description="whether to leave out slides and patches that cannot be read")
    row_group_rows: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        128, description="largest number of patches in a row group, the unit that training reads"
    )
    file_rows: Annotated[int, Field(ge=1, le=100_000_000)] = Field(
        4096, description="largest number of patches in a file"
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(0, description="seed of the slide order in the manifest")


class Data(Section):
    manifest: Place | None = Field(None, description="folder (or file, or URI) of the patch manifest")
    features: Place | None = Field(
        None,
        description="folder (or URI) of features to train on instead of pixels, with the views that `embed --views` writes; null: "
        "pixels of the manifest",
    )
    cohort: Place | None = Field(
        None, description="CSV or Parquet table of slides with other labels, splits or folds; null: the manifest's own"
    )
    target: Name = Field("label", description="column of the table of slides with the label to learn")
    split_column: Name = Field("split", description="column of the table of slides with the split")
    fold: Name | None = Field(
        None, description="column of folds, which `tune` and `evaluate` hold out in turn, instead of using the splits"
    )
    pure: Annotated[list[Name], Field(min_length=1, max_length=1000)] = Field(
        ["negative"], description="labels of pure slides, whose every patch truly has the label"
    )
    mixed: Annotated[list[Name], Field(max_length=1000)] | None = Field(
        None, description="labels of mixed slides; null: every other label"
    )
    train_split: Name = Field("train", description="split used to pretrain and to fit heads")
    val_split: Name = Field(
        "val", description="split used to choose heads; without it, some training patients are used"
    )
    test_split: Name = Field("test", description="split that only `evaluate` uses")
