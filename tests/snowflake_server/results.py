"""Times in results, as the connectors want them: NULL is NULL, and no fraction is rounded."""

from __future__ import annotations

import fakesnow.arrow
import pyarrow as pa
import pyarrow.compute as pc

UTC_MINUTES = 1440  # an offset of 0, as Snowflake counts


def struct_of(times: pa.Array | pa.ChunkedArray) -> pa.StructArray:
    """Return seconds, nanoseconds and, where there is a time zone, its offset."""
    if isinstance(times, pa.ChunkedArray):
        times = times.combine_chunks()
    micros = pc.fill_null(times.cast(pa.timestamp("us", times.type.tz)).cast(pa.int64()), 0)
    seconds = pa.array(micros.to_numpy() // 1_000_000, pa.int64())
    fraction = pa.array(micros.to_numpy() % 1_000_000 * 1000, pa.int32())
    arrays = {"epoch": seconds, "fraction": fraction}
    if times.type.tz:
        arrays["timezone"] = pa.array([UTC_MINUTES] * len(times), pa.int32())
    fields = [pa.field(name, array.type, nullable=False) for name, array in arrays.items()]
    return pa.StructArray.from_arrays(list(arrays.values()), fields=fields, mask=times.is_null())


def install() -> None:
    fakesnow.arrow.timestamp_to_sf_struct = struct_of
