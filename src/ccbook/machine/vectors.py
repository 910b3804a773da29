"""What numba doesn't do with vectors by itself, written for LLVM, which has them on every processor.

Arrays are given by their addresses. numba's cache follows the module that uses these: touch that after a change here.
"""

from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core import cgutils

intrinsic: Any = extending.intrinsic  # its types are not whole
LANES = 16  # numbers in a vector
TILE = 7 * LANES  # columns at a time: on every usual processor so many sums fit into the registers
WHOLE, WHOLES = ir.IntType(32), ir.VectorType(ir.IntType(32), LANES)


def at(builder: Any, address: Any, index: Any, kind: Any) -> Any:
    """A pointer to this place of an array of 4-byte numbers."""
    return builder.inttoptr(builder.add(address, builder.mul(index, index.type(4))), kind.as_pointer())


def spread(builder: Any, x: Any) -> Any:
    """A vector that has x in all lanes."""
    first = builder.insert_element(ir.VectorType(x.type, LANES)(ir.Undefined), x, WHOLE(0))
    return builder.shuffle_vector(first, first, WHOLES([0] * LANES))


@intrinsic
def add_rows(_typing, into, width, table, stride, entries, first, last, weights):
    """into[:width] += Σ weights[byte] table[row stride : row stride + width] over entries[first:last].

    An entry is 256 row + byte. numba would leave the sums in memory; here they stay in registers. The last vector
    overlaps the one before it, so width is LANES at least, and TILE at most.
    """

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        into, width, table, stride, entries, first, last, weights = arguments
        size, vector = width.type, ir.VectorType(ir.FloatType(), LANES)
        needed = builder.sdiv(builder.add(width, size(LANES - 1)), size(LANES))
        for vectors in range(1, TILE // LANES + 1):
            with builder.if_then(builder.icmp_signed("==", needed, size(vectors))):
                offsets = [size(LANES * k) for k in range(vectors - 1)] + [builder.sub(width, size(LANES))]
                sums = [cgutils.alloca_once(builder, vector) for _ in offsets]
                for offset, total in zip(offsets, sums, strict=True):
                    builder.store(builder.load(at(builder, into, offset, vector), align=4), total)
                with cgutils.for_range_slice(builder, first, last, size(1), inc=True) as (k, _):
                    entry = builder.sext(builder.load(at(builder, entries, k, WHOLE)), size)
                    row = builder.mul(builder.ashr(entry, size(8)), stride)
                    byte = builder.and_(entry, size(255))
                    weight = spread(builder, builder.load(at(builder, weights, byte, vector.element)))
                    for offset, total in zip(offsets, sums, strict=True):
                        part = builder.load(at(builder, table, builder.add(row, offset), vector), align=4)
                        term = builder.fmul(weight, part, flags=("contract",))
                        builder.store(builder.fadd(builder.load(total), term, flags=("contract",)), total)
                for offset, total in zip(offsets, sums, strict=True):
                    builder.store(builder.load(total), at(builder, into, offset, vector), align=4)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 8), generate


@intrinsic
def add_entries(_typing, into, pixels, column):
    """256 column + byte for each nonzero byte of LANES pixels, the first at this column; returns how many.

    Without a branch, and by a single instruction where a processor has it.
    """

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        into, pixels, column = arguments
        vector = builder.load(builder.inttoptr(pixels, ir.VectorType(ir.IntType(8), LANES).as_pointer()), align=1)
        values, none = builder.zext(vector, WHOLES), WHOLES([0] * LANES)
        columns = builder.add(spread(builder, builder.trunc(column, WHOLE)), WHOLES([*range(LANES)]))
        entries = builder.or_(values, builder.shl(columns, WHOLES([8] * LANES)))
        found = builder.icmp_unsigned("!=", values, none)
        kind = ir.FunctionType(WHOLES, [WHOLES, found.type, WHOLES])
        name = f"llvm.experimental.vector.compress.v{LANES}i32"
        kept = builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [entries, found, none])
        builder.store(kept, builder.inttoptr(into, WHOLES.as_pointer()), align=4)
        return builder.zext(builder.ctpop(builder.bitcast(found, ir.IntType(LANES))), column.type)

    return types.intp(*[types.intp] * 3), generate


@intrinsic
def transpose(_typing, into, into_stride, table, stride):
    """The transpose of a square of LANES rows of LANES bytes; strides are from one row to the next."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        into, into_stride, table, stride = arguments
        kind = ir.VectorType(ir.IntType(8), LANES).as_pointer()
        places = [(builder.add(into, builder.mul(into_stride, stride.type(k))),
                   builder.add(table, builder.mul(stride, stride.type(k)))) for k in range(LANES)]  # fmt: skip
        rows = [builder.load(builder.inttoptr(place, kind), align=1) for _, place in places]
        half = LANES // 2
        # one after the other from two rows, the first halves or the second: after log2 LANES times rows are columns
        halves = [WHOLES([first + k // 2 + LANES * (k % 2) for k in range(LANES)]) for first in (0, half)]
        for _ in range(LANES.bit_length() - 1):
            rows = [builder.shuffle_vector(rows[k], rows[k + half], part) for k in range(half) for part in halves]
        for row, (place, _) in zip(rows, places, strict=True):
            builder.store(row, builder.inttoptr(place, kind), align=1)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), generate
