"""Makes the files of this folder with the programs that people use: pyarrow and `datasets`.

    python3 tests/data/containers/make.py        # needs pyarrow and datasets
"""

import datetime
import decimal
import pathlib

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent
TEXTS = [f"User: {i}?\n\nAssistant: {i}." for i in range(10)]

# A column of every kind of type beside the texts.
table = pa.table(
    {
        "text": TEXTS,
        "id": range(10),
        "made": [datetime.datetime(2024, 1, 1)] * 10,
        "zoned": pa.array([datetime.datetime(2024, 1, 1)] * 10, pa.timestamp("us", tz="America/New_York")),
        "day": [datetime.date(2024, 1, 1)] * 10,
        "price": [decimal.Decimal("1.50")] * 10,
        "map": pa.array([[("k", 1)]] * 10, pa.map_(pa.string(), pa.int64())),
        "number": [1.5] * 9 + [float("nan")],
        "flag": [True, None] * 5,
        "word": pa.array(["x", "y"] * 5).dictionary_encode(),
        "pair": pa.array([[1, 2]] * 10, pa.list_(pa.int32(), 2)),
        "nothing": pa.nulls(10),
        "bytes": [b"ok"] * 10,
    }
)
pq.write_table(table, HERE / "pyarrow.parquet", compression="snappy")
with pa.ipc.new_file(HERE / "pyarrow.arrow", table.schema) as file:
    file.write_table(table, max_chunksize=4)
datasets.Dataset.from_dict({"text": TEXTS}).save_to_disk(HERE / "saved")
