"""Bounds for the fields of a configuration dataclass, usable without pydantic and without torch.

`learning_rate: Annotated[float, Between(0.0, 1.0)]` states the range beside the field. Where
pydantic is installed (the driver), it reads the bound through `__get_pydantic_core_schema__`; where
it is not (a bare training machine) the annotation is inert.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Between:
    """Allow numbers in [low, high]; None leaves that side open."""

    low: float | None = None
    high: float | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Add the bounds to the number's schema (pydantic's annotation protocol)."""
        schema = dict(handler(source))
        if self.low is not None:
            schema["ge"] = self.low
        if self.high is not None:
            schema["le"] = self.high
        return schema
