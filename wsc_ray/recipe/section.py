"""What all sections of a recipe share: the base class, the limits of numbers, and showing these limits."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

# Every number has an upper limit, which the file of `wsc-ray init` shows. It is above what anybody needs, and below numbers that
# would overflow, exhaust the memory, or never end.
EPOCHS = 100_000
STEPS = 999_999_999  # steps of a whole run: the names of checkpoints and records have nine digits
PATCHES = 1 << 20  # patches of a batch
WIDTH = 1 << 16  # width of a layer
NAME, PLACE = 200, 4096  # characters of a name, and of a path or URI

Fraction = Annotated[float, Field(ge=0, le=1)]
Scale = Annotated[float, Field(ge=1e-4, le=1000)]  # a divisor or a factor
Ratio = Annotated[float, Field(ge=0.01, le=100)]
Sigma = Annotated[float, Field(ge=1e-3, le=1024)]  # px
Rate = Annotated[float, Field(gt=0, le=1000)]  # a learning rate
NoRate = Annotated[float, Field(ge=0, le=1000)]
Decay = Annotated[float, Field(gt=0, le=100)]
Workers = Annotated[int, Field(ge=1, le=4096)]
Batch = Annotated[int, Field(ge=1, le=PATCHES)]
Steps = Annotated[int, Field(ge=1, le=STEPS)]
Width = Annotated[int, Field(ge=1, le=WIDTH)]
Side = Annotated[int, Field(ge=8, le=4096)]  # px
Epochs = Annotated[int, Field(ge=1, le=EPOCHS)]
Name = Annotated[str, Field(min_length=1, max_length=NAME)]
Place = Annotated[str, Field(min_length=1, max_length=PLACE)]


def _types(annotation: Any) -> set[Any]:
    """Return an annotation and all the types it contains."""
    return {annotation}.union(*map(_types, get_args(annotation)))


class Section(BaseModel):
    """A section of the recipe: it refuses unknown keys, coerces no values silently, and is immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse `epochs: true`, which would be 1, and `profile: 1`, which would be true."""
        assert info.field_name is not None  # pydantic sets it for the validator of a field
        takes = _types(cls.model_fields[info.field_name].annotation)
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, bool) and takes & {int, float} and bool not in takes:
                raise PydanticCustomError("number", "input should be a number")
            if isinstance(item, int | float) and not isinstance(item, bool) and bool in takes:
                raise PydanticCustomError("truth", "input should be true or false")
        return value


def limits(section: type[Section], name: str) -> str:
    """Return the limits of a number, or of a list of numbers, as text; "" for other settings.

    Such as `1 to 4096`, or `above 0 to below 1`.
    """
    for schema in _schemas(section.model_json_schema()["properties"][name]):
        if schema.get("type") in ("integer", "number"):
            start = _plain(schema["minimum"]) if "minimum" in schema else f"above {_plain(schema['exclusiveMinimum'])}"
            end = _plain(schema["maximum"]) if "maximum" in schema else f"below {_plain(schema['exclusiveMaximum'])}"
            return f"{start} to {end}"
    return ""


def _schemas(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a JSON schema and all schemas that it contains."""
    inner = [
        *schema.get("anyOf", []),
        *schema.get("prefixItems", []),
        *([schema["items"]] if "items" in schema else []),
    ]
    return [schema, *(nested for part in inner for nested in _schemas(part))]


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"
