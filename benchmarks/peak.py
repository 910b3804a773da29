"""What a core can do at most: float32 multiply-adds in registers, without any memory."""

import time
from typing import Any

import numba
from llvmlite import ir
from numba import extending, types
from numba.core import cgutils

from ccbook.machine.vectors import LANES, spread

njit: Any = numba.njit  # its types are not whole
intrinsic: Any = extending.intrinsic
CHAINS = 6, 12  # sums that don't wait for each other: few fit into all registers, many hide the latency
TURNS = 20_000_000  # multiply-adds of vectors in a measurement


def loop(chains: int) -> Any:
    """A function of turns: so many times each of the sums x becomes x f + f, which stays finite for f below 1."""

    @intrinsic
    def sums(_typing: Any, turns: Any, factor: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            turns, factor = arguments
            vector = ir.VectorType(ir.FloatType(), LANES)
            f = spread(builder, factor)
            kept = [
                cgutils.alloca_once_value(builder, builder.fmul(f, vector([k + 1.0] * LANES))) for k in range(chains)
            ]
            add = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{LANES}f32"
            )
            with cgutils.for_range(builder, turns):
                for x in kept:
                    builder.store(builder.call(add, [builder.load(x), f, f]), x)
            total = builder.load(kept[0])
            for x in kept[1:]:
                total = builder.fadd(total, builder.load(x))
            return builder.extract_element(total, ir.IntType(32)(0))

        return types.float32(types.intp, types.float32), generate

    @njit("f4(i8, f4)")
    def run(turns: Any, factor: Any) -> Any:
        return sums(turns, factor)

    return run


LOOPS = {chains: loop(chains) for chains in CHAINS}


def gflops() -> float:
    """Billions of float32 operations a second of this core, now: the better of the loops; a multiply-add is two."""
    speeds = []
    for chains, run in LOOPS.items():
        begin = time.perf_counter()
        assert run(TURNS // chains, 0.5) > 0  # the result is used, or the loop would go
        speeds.append(2 * LANES * chains * (TURNS // chains) / (time.perf_counter() - begin) / 1e9)
    return max(speeds)


if __name__ == "__main__":
    print(f"{gflops():.0f} GFLOP/s")
