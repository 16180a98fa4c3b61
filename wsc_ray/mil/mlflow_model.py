"""The code of the model that `tune` registers in MLflow. MLflow stores a copy of this file, and runs it when the model is loaded.

The model holds nothing pickled: it consists of this file, and of the members' safetensors and JSON files as artifacts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel

from wsc_ray.mil.ensemble import Member, load_members
from wsc_ray.mil.mlflow_registry import ARTIFACT, FOLD_COLUMN, PATH_COLUMN, predict_files


class EnsembleModel(PythonModel):
    """Predicts slides from files of features; a prediction is the mean of the members' probabilities."""

    members: list[Member]

    def load_context(self, context: Any) -> None:
        """Load the members; MLflow calls this once."""
        self.members = load_members(Path(context.artifacts[ARTIFACT]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return the predicted class and the probabilities of each slide.

        Args:
            context: MLflow's context, not used.
            model_input: one row per slide: `path` of an .h5 file with a dataset `features` (n, D), as TRIDENT and `wsc-ray embed`
                write it; optionally `fold`, to use only the members that did not see the slides of that fold.
            params: not used.

        Returns:
            One row per slide, with `predicted` and a column `prob_<class>` for each class.
        """
        folds = model_input[FOLD_COLUMN].tolist() if FOLD_COLUMN in model_input else [None] * len(model_input)
        folds = [None if pd.isna(fold) else str(fold) for fold in folds]
        probabilities = predict_files(self.members, model_input[PATH_COLUMN].tolist(), folds)
        classes = self.members[0].config["classes"]
        columns = {f"prob_{name}": probabilities[:, place] for place, name in enumerate(classes)}
        predicted = np.array(classes)[probabilities.argmax(axis=1)] if len(probabilities) else []
        return pd.DataFrame({"predicted": predicted, **columns}, index=model_input.index)


mlflow.models.set_model(EnsembleModel())
