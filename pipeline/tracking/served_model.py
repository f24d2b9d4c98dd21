"""The published model as MLflow serves it: prompts in, base64 PNGs out.

MLflow runs this file by itself (models from code) beside its own copies of components/ and models/,
so nothing of pipeline/ is imported here. Every refused request is a 400 that names the field.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pandas  # at the top, where MLflow looks up the types of `predict`
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel

from components.errors import ConfigError
from components.requests.images import ImageRequest
from components.requests.subjects import check_subject

DEFAULTS: dict[str, Any] = {"seed": 0, "truncation": 1.0, "n": 1}


class ServedModel(PythonModel):
    """Input: column `prompt`. Output: one row per image: prompt, seed, image_png_base64."""

    def load_context(self, context: Any) -> None:
        """Open the release that lies in the model's artifacts."""
        import torch

        from components.artifacts.release import load_release

        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model, card = load_release(Path(context.artifacts["release"]), device)
        self._card, self._limits = card, card["release"]["limits"]

    def predict(
        self, context: Any, model_input: pandas.DataFrame, params: dict[str, Any] | None = None
    ) -> pandas.DataFrame:
        """Return the images of every prompt, with the seeds `seed`, `seed` + 1, ...

        Args:
            context: unused.
            model_input: table with a column `prompt`; a model of classes reads their names there.
            params: seed in [0, 2^63), truncation in [-2, 2], n images per prompt.
        """
        from components.sampling import generate

        values = {**DEFAULTS, **(params or {})}
        try:
            request = ImageRequest(
                prompts=_prompts(model_input),
                seed=values["seed"],
                images_per_prompt=values["n"],
                truncation=values["truncation"],
                prompt_chars_limit=self._limits["prompt_chars"],
                images_limit=self._limits["images"],
            )
            for prompt in request.prompts:
                check_subject(self._card, prompt)
        except ConfigError as error:
            raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from None
        prompts, seeds = request.rows()
        images = generate(self._model, prompts, seeds, float(request.truncation))
        pngs = [_png(image) for image in images]
        return pandas.DataFrame({"prompt": prompts, "seed": seeds, "image_png_base64": pngs})


def _prompts(model_input: Any) -> tuple[str, ...]:
    if "prompt" not in getattr(model_input, "columns", ()):
        raise ConfigError("no column prompt", "prompt", "send a table with that column")
    return tuple(model_input["prompt"].tolist())


def _png(image_HWC: Any) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image_HWC).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


set_model(ServedModel())
