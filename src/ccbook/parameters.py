"""The parameters of a chapter: named, typed and checked in one place, whoever gives them."""

import dataclasses
import inspect
import itertools
import reprlib
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Annotated, Any, Literal, NamedTuple

import pydantic
import torch
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo, field_validator

from ccbook import chapters
from ccbook.machine import download
from ccbook.wording import did_you_mean
from complexity_control.training import Settings


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
        text = value.strip()
        inner = text[1:-1] if text[:1] + text[-1:] == "[]" else text
        value = [item.strip() for item in inner.split(",")] if inner.strip() else []
    return value if isinstance(value, list | tuple) else [value]


def _distinct(values: tuple) -> tuple:
    if len(set(values)) < len(values):
        raise ValueError("no value may come twice")
    return values


def _ends(values: tuple) -> tuple:
    if len(values) != 2 or values[0] >= values[1]:
        raise ValueError("a range has two ends, the lower one first")
    return values


def _affordable(widths: tuple[int, ...]) -> tuple[int, ...]:
    weights = sum(a * b for a, b in itertools.pairwise(widths))
    if weights > WEIGHTS:
        raise ValueError(f"these layers have {weights:,} weights between them; at most {WEIGHTS:,} are allowed")
    return widths


def printable(value: str) -> str:
    """The text, if it is one line of what can be seen."""
    if not value.isprintable():
        raise ValueError("there can be no line breaks and no control characters")
    return value


Number = BeforeValidator(_no_bool)
Int = Annotated[int, Number]
Float = Annotated[float, Number, AfterValidator(lambda value: value or 0.0)]  # -0.0 would be another run
# upper bounds are what float32 and a large machine hold; only a slip of the finger passes them
Positive = Annotated[Float, Field(gt=0, le=1e30)]
Seed = Annotated[Int, Field(ge=0, lt=2**63)]
Width = Annotated[Int, Field(ge=1, le=1_000_000)]
WEIGHTS = 100_000_000  # between hidden layers; each takes some 32 bytes in training
A_FEW = (BeforeValidator(_as_list), Field(min_length=1, max_length=1_000))


class Parameters(pydantic.BaseModel):
    """A fully resolved set of parameters; their comments are in the chapters."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    chapter: str
    dataset: str = Field(max_length=4_096)  # as long as a path may be
    lambdas: Annotated[tuple[Positive, ...], *A_FEW, AfterValidator(_distinct)]
    seeds: Annotated[tuple[Seed, ...], *A_FEW, AfterValidator(_distinct)]
    epochs: Int = Field(ge=1, le=1_000_000)
    batch_size: Int = Field(ge=1, le=10_000_000)
    learning_rate: Positive
    optimizer: Literal["adam", "sgd"]
    momentum: Float = Field(ge=0, lt=1)
    schedule: Literal["constant", "cosine"]
    clip: Float = Field(ge=0, le=1e30)
    precision: Literal["float32", "bfloat16"]
    estimator: Literal["local", "weights"]
    bias_noise: Literal["std", "variance"]
    shuffle: bool
    prior_std: Positive
    init_log_std: Float = Field(ge=-20, le=5)
    hidden: Annotated[tuple[Width, ...], *A_FEW, AfterValidator(_affordable)]
    device: Literal["cpu", "cuda"]
    profile: Literal["paper", "quick"]
    force: bool

    @property
    def method(self) -> str:
        """The paper's letter of the method, the first of the chapter's name."""
        return self.chapter[0]

    @property
    def cap(self) -> Cap:
        """What the profile allows."""
        return PROFILES[self.profile]

    @property
    def models(self) -> int:
        """How many models are trained: one for each lambda and seed, or one for each seed."""
        return len(self.seeds) * (1 if isinstance(self, Hypernetwork) else len(self.lambdas))

    @property
    def settings(self) -> Settings:
        """What the training itself must know."""
        names = {field.name for field in dataclasses.fields(Settings)} & set(type(self).model_fields)
        return Settings(**{name: getattr(self, name) for name in names})

    @field_validator("dataset")
    @classmethod
    def _known_dataset(cls, value: str, info: ValidationInfo) -> str:
        try:
            return printable(value if info.context == RECORDED else download.known(printable(value)))
        except OSError as error:  # longer than a path may be
            raise ValueError(f"no folder can be of this name ({error.strerror})") from None

    @field_validator("device")
    @classmethod
    def _present_device(cls, value: str, info: ValidationInfo) -> str:
        if value == "cuda" and info.context != RECORDED and not torch.cuda.is_available():
            raise ValueError("no CUDA device is found here; use cpu")
        return value

    @pydantic.model_validator(mode="after")
    def _capped(self) -> "Parameters":
        # the profile's bounds are resolved here, so that receipt and content key hold what was really run
        object.__setattr__(self, "seeds", self.seeds[: self.cap.seeds])
        object.__setattr__(self, "epochs", min(self.epochs, self.cap.epochs or self.epochs))
        object.__setattr__(self, "momentum", self.momentum * (self.optimizer == "sgd"))  # adam has none
        return self


class Hypernetwork(Parameters):
    """Parameters of every hypernetwork."""

    samples: Int = Field(ge=1, le=1_000)
    lam_range: Annotated[tuple[Positive, ...], BeforeValidator(_as_list), AfterValidator(_ends)]
    stratified: bool
    lam_power: Float = Field(ge=-2, le=2)


class FineTuning(Parameters):
    """Parameters of (d) and (f)."""

    start: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(printable)]


# what a method's own options of these types may be
OPTIONS = {float: Annotated[Float, Field(ge=-1e3, le=1e3)], int: Annotated[Int, Field(ge=0, le=20)]}


def _model(method: chapters.Chapter) -> type[Parameters]:
    """A hypernetwork's parameters are those of its function too, as annotated there."""
    if not method.is_hypernetwork:
        return FineTuning if method.start else Parameters
    options = inspect.signature(method.make).parameters.items()
    fields: dict[str, Any] = {name: (OPTIONS.get(option.annotation, option.annotation), ...)
                              for name, option in options if name not in Hypernetwork.model_fields}  # fmt: skip
    return pydantic.create_model(method.function, __base__=Hypernetwork, __module__=__name__, **fields)


MODELS = {letter: _model(method) for letter, method in chapters.METHODS.items()}
globals().update({model.__name__: model for model in MODELS.values()})  # where a worker process looks for them


RECORDED = {"recorded": True}


def resolved(values: Mapping[str, Any]) -> Parameters:
    """Parameters as a receipt holds them; a run made elsewhere may name a dataset or a device that isn't here.

    A parameter that the chapter has got since then has its default. Raises: ParameterError.
    """
    chapter = values["chapter"]
    if chapter not in chapters.names():
        raise ParameterError(f"there is no chapter {reprlib.repr(chapter)}")
    complete = chapters.defaults(chapter) | dict(values) | {"force": False}
    return _validated(chapter, complete, [], RECORDED)


def check(chapter: str, given: Mapping[str, Any]) -> Parameters:
    """Validate and cast what a chapter was given.

    Args: given, each parameter by name, or a notebook's `globals()` right after its parameters cell: there, names that
        begin with `_`, modules, functions and IPython's own are not parameters.
    Raises: ParameterError, naming every parameter at fault.
    """
    values = dict(given)
    if isinstance(given.get("__builtins__"), ModuleType | dict):  # which no command line gives
        plain = bool | int | float | str | list | tuple | dict | None
        values = {n: v for n, v in given.items() if n[:1] != "_" and n not in ("In", "Out") and isinstance(v, plain)}
    allowed = chapters.defaults(chapter)
    faults = [unknown(name, allowed) for name in values if name not in allowed]
    return _validated(chapter, {n: v for n, v in values.items() if n in allowed} | {"chapter": chapter}, faults)


def differing(p: Parameters) -> dict[str, Any]:
    """The values of a chapter's parameters that its cell doesn't have, nor its profile make of them."""
    defaults = chapters.defaults(p.chapter)
    usual = check(p.chapter, defaults | {"profile": p.profile}).model_dump(mode="json")
    usual["profile"] = defaults["profile"]
    return {n: value for n, value in p.model_dump(mode="json").items() if n != "force" and value != usual[n]}


# what cuts no other parameter: all seeds and epochs count, and momentum
UNCUT = {"profile": "paper", "optimizer": "sgd"}


def uncut(chapter: str, values: Mapping[str, Any], asked: Iterable[str]) -> Parameters:
    """Checked parameters, of which those that were asked for by name are as asked. Raises: ParameterError."""
    p, whole = check(chapter, values), check(chapter, dict(values) | UNCUT)
    for name in asked:
        if name not in UNCUT and (taken := getattr(p, name)) != getattr(whole, name):
            raise ParameterError(f"parameter {name} = {reprlib.repr(values[name])} would be taken as {taken}, with "
                                 f"profile = {p.profile} and optimizer = {p.optimizer}")  # fmt: skip
    return p


def _validated(chapter: str, values: dict[str, Any], faults: list[str], context: Any = None) -> Parameters:
    try:
        p = MODELS[chapter[0]].model_validate(values, context=context)  # by the method's letter
    except ValidationError as error:
        faults = [*faults, *format_errors(error)]
    if faults:
        raise ParameterError("; ".join(faults))
    return p


def unknown(name: str, allowed: Iterable[str]) -> str:
    """What to say of a parameter that isn't one of the allowed."""
    if others := [letter for letter, model in MODELS.items() if name in model.model_fields and name != "chapter"]:
        return f"unknown parameter {name!r}: only {', '.join(others)} have it"
    return f"unknown parameter {name!r}: {did_you_mean(name, allowed, 'there are ' + ', '.join(allowed))}"


def format_errors(error: ValidationError, noun: str = "parameter") -> list[str]:
    """What pydantic says of each value, with its name and what was given."""
    faults = error.errors()
    said = []
    for e in faults:
        place, reason = ".".join(map(str, e["loc"])), e["msg"].removeprefix("Value error, ")
        if any(other["loc"][: len(e["loc"])] == e["loc"] != other["loc"] for other in faults):
            continue  # a list with a wrong item is also said to be too short
        given = reprlib.repr(e["input"])  # which may be of any length, or hold itself
        said.append(f"{noun} {place!r} is missing" if e["type"] == "missing"
                    else f"{noun} {place} = {given}: {reason}")  # fmt: skip
    return said
