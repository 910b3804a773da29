"""The parameters of a chapter: named, typed and checked in one place, whoever gives them."""

import difflib
import itertools
import json
import reprlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from complexity_control import chapters, data


class Cap(NamedTuple):
    """The most that a profile spends; None is no bound."""

    seeds: int | None = None
    epochs: int | None = None
    train: int | None = None  # digits, the first ones
    test: int | None = None


PROFILES = {"paper": Cap(), "quick": Cap(seeds=1, epochs=2, train=5_000, test=1_000)}


class ParameterError(ValueError):
    """Parameters that no run can be made from; the message says which, and what is allowed."""


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("Input should be a number, not true or false")
    return value


def _as_list(value: object) -> object:
    """A list as papermill may hand it over: as it is, as text, or as its only element."""
    if isinstance(value, str):
        try:
            value = json.loads(value if value.startswith("[") else f"[{value}]")
        except (ValueError, RecursionError):
            raise ValueError("Input should be a list such as [0.1, 1]") from None
    return value if isinstance(value, list | tuple) else [value]


def _distinct(values: tuple) -> tuple:
    if len(set(values)) < len(values):
        raise ValueError("no value may come twice")
    return values


Number = BeforeValidator(_no_bool)
Int = Annotated[int, Number]
Float = Annotated[float, Number]
# upper bounds are what float32 and a large machine hold; only a slip of the finger passes them
Positive = Annotated[Float, Field(gt=0, le=1e30)]
WEIGHTS = 100_000_000  # between hidden layers; each takes some 32 bytes in training


class Parameters(BaseModel):
    """A fully resolved set of parameters; their comments are in the chapters."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    chapter: str
    dataset: str
    lambdas: tuple[Positive, ...] = Field(min_length=1, max_length=1_000)
    seeds: tuple[Annotated[Int, Field(ge=0, lt=2**63)], ...] = Field(min_length=1, max_length=1_000)
    epochs: Int = Field(ge=1, le=1_000_000)
    batch_size: Int = Field(ge=1, le=10_000_000)
    learning_rate: Positive
    optimizer: Literal["adam", "sgd"]
    momentum: Float = Field(ge=0, lt=1)
    clip: Float = Field(ge=0, le=1e30)
    precision: Literal["float32", "bfloat16"]
    prior_std: Positive
    init_log_std: Float = Field(ge=-20, le=5)
    hidden: tuple[Annotated[Int, Field(ge=1, le=1_000_000)], ...] = Field(min_length=1, max_length=100)
    device: str
    profile: Literal["paper", "quick"]
    force: bool

    @property
    def method(self) -> str:
        """The paper's letter of the method, the first of the chapter's name."""
        return self.chapter[0]

    @property
    def cap(self) -> Cap:
        return PROFILES[self.profile]

    @field_validator("lambdas", "seeds", "hidden", mode="before")
    @classmethod
    def _lists(cls, value: object) -> object:
        return _as_list(value)

    @field_validator("lambdas", "seeds")
    @classmethod
    def _sets(cls, value: tuple) -> tuple:
        return _distinct(value)

    @field_validator("hidden")
    @classmethod
    def _fits(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        weights = sum(a * b for a, b in itertools.pairwise(value))
        if weights > WEIGHTS:
            raise ValueError(f"these layers have {weights:,} weights between them; at most {WEIGHTS:,} are allowed")
        return value

    @field_validator("dataset")
    @classmethod
    def _known_dataset(cls, value: str, info: ValidationInfo) -> str:
        if not value.isprintable():
            raise ValueError("a name or folder has no line breaks and no control characters")
        try:
            return value if info.context == RECORDED else data.known(value)
        except (OSError, RuntimeError) as error:  # longer than a path may be; the home of nobody
            raise ValueError(f"no folder can be of this name ({getattr(error, 'strerror', error)})") from None

    @field_validator("device")
    @classmethod
    def _present_device(cls, value: str, info: ValidationInfo) -> str:
        if value == "cuda" and info.context != RECORDED and not torch.cuda.is_available():
            raise ValueError("no CUDA device is found here; use cpu")
        if value not in ("cpu", "cuda"):
            raise ValueError("Input should be cpu or cuda")
        return value

    @model_validator(mode="after")
    def _capped(self) -> "Parameters":
        # the profile's bounds are resolved here, so that receipt and content key hold what was really run
        object.__setattr__(self, "seeds", self.seeds[: self.cap.seeds])
        object.__setattr__(self, "epochs", min(self.epochs, self.cap.epochs or self.epochs))
        return self


class Hypernetwork(Parameters):
    """Parameters of (c) and (e)."""

    feed: Literal["scaled", "log", "raw"]
    samples: Int = Field(ge=1, le=1_000)


class FineTuning(Parameters):
    """Parameters of (d) and (f)."""

    start: str = Field(min_length=1)


KINDS: dict[str, type[Parameters]] = {
    "a": Parameters,
    "b": Parameters,
    "c": Hypernetwork,
    "d": FineTuning,
    "e": Hypernetwork,
    "f": FineTuning,
}


RECORDED = {"recorded": True}


def resolved(values: Mapping[str, Any]) -> Parameters:
    """Parameters as a receipt holds them; a run made elsewhere may name a dataset or a device that isn't here.

    A parameter that the chapter has got since then has its default.
    Raises: ValueError.
    """
    chapter = values["chapter"]
    if chapter not in chapters.names():
        raise ParameterError(f"there is no chapter {chapter!r}")
    try:
        return KINDS[chapter[0]].model_validate(defaults(chapter) | dict(values) | {"force": False}, context=RECORDED)
    except ValidationError as error:
        raise ParameterError("; ".join(told(error))) from None


def names(chapter: str) -> list[str]:
    """What a chapter of this name may be given."""
    return [name for name in KINDS[chapter[0]].model_fields if name != "chapter"]


def check(chapter: str, given: Mapping[str, Any]) -> Parameters:
    """Validate and cast what a chapter was given.

    Args: given, each parameter by name. A notebook passes its `globals()` right after its parameters cell:
        names that begin with `_`, modules, functions and IPython's own are not parameters.
    Raises: ParameterError, naming every parameter at fault.
    """
    values = {k: v for k, v in given.items() if not k.startswith("_") and _plain(k, v)}
    allowed = names(chapter)
    faults = [unknown(name, allowed) for name in values if name not in allowed]
    try:
        p = KINDS[chapter[0]](chapter=chapter, **{k: v for k, v in values.items() if k in allowed})
    except ValidationError as error:
        faults += told(error)
    if faults:
        raise ParameterError("; ".join(faults))
    return p


def defaults(chapter: str) -> dict[str, Any]:
    """The values in a chapter's parameters cell, the only place where they are written."""
    return {parameter.name: parameter.default for parameter in chapters.parameters(chapter)}


def _plain(name: str, value: object) -> bool:
    """Whether a global of a notebook is a parameter: plain data, and none of IPython's In and Out."""
    plain = value is None or isinstance(value, bool | int | float | str | list | tuple | dict)
    return plain and name not in ("In", "Out")


def unknown(name: str, allowed: list[str]) -> str:
    """What to say of a parameter that isn't one of the allowed."""
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else "there are " + ", ".join(allowed)
    return f"unknown parameter {name!r}: {hint}"


def told(error: ValidationError) -> list[str]:
    """What pydantic says of each value, with its name and what was given."""
    faults = error.errors()
    # a list with a wrong item is also said to be too short
    inner = [
        e for e in faults if not any(other["loc"][: len(e["loc"])] == e["loc"] != other["loc"] for other in faults)
    ]
    return [_fault(e) for e in inner]


def _fault(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"parameter {place!r} is missing"
    # what was given may be of any length, or hold itself
    return f"parameter {place} = {reprlib.repr(error['input'])}: {error['msg'].removeprefix('Value error, ')}"
