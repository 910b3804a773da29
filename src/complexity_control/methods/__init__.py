"""The methods, one a file: each file has one function, which gives the Method."""

from complexity_control.methods.direct import direct
from complexity_control.methods.linear import linear
from complexity_control.methods.low_rank import low_rank
from complexity_control.methods.tempered import tempered

__all__ = ["direct", "linear", "low_rank", "tempered"]
