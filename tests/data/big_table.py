"""Writes a large table for the test `memory_of_a_large_file`: PATH.parquet or PATH.arrow, of about GB gigabytes.

    python3 tests/data/big_table.py PATH GB        # needs pyarrow
"""

import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq

path, gigabytes = sys.argv[1], float(sys.argv[2])
schema = pa.schema([("id", pa.int64()), ("text", pa.string())])
ROWS = 10_000


def batch(first):
    # Hexadecimal digits of random bytes: half of their size remains when they are compressed.
    texts = ["User: %d?\n\nAssistant: %s" % (i, os.urandom(1000).hex()) for i in range(first, first + ROWS)]
    return pa.record_batch([pa.array(range(first, first + ROWS)), pa.array(texts)], schema=schema)


first = 0
if path.endswith(".parquet"):
    writer, batches = pq.ParquetWriter(path, schema, compression="snappy"), 10
else:
    writer, batches = pa.ipc.new_stream(path, schema), 1
while not os.path.exists(path) or os.path.getsize(path) < gigabytes * 1e9:
    # A row group of Parquet has 100,000 rows, as other programs write it.
    writer.write_table(pa.Table.from_batches([batch(first + ROWS * i) for i in range(batches)]))
    first += ROWS * batches
writer.close()
