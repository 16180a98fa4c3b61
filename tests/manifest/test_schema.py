import hashlib

import pyarrow as pa

from wsc_ray.manifest.schema import conform, hash_rows, missing_columns, schema_for

from .cohort import cohort


def digest(table: pa.Table) -> str:
    found = hashlib.sha256()
    hash_rows(found, table)
    return found.hexdigest()


def test_missing_columns_name_a_way_to_have_pixels():
    lacking = ["mpp", "one of image, image_uri, slide_uri"]
    assert missing_columns(schema_for(cohort().column_names).names, rows_describe_slides=True) == []
    names = ["slide_id", "patient_id", "label", "split", "x", "y", "patch_size", "level"]
    assert missing_columns(names, rows_describe_slides=True) == lacking
    names = ["slide_id", "x", "y", "patch_size", "level"]
    assert missing_columns(names, rows_describe_slides=False) == lacking
    assert missing_columns(names, rows_describe_slides=True) == ["patient_id", "label", "split", *lacking]


def test_conform_orders_columns_and_sets_types():
    mixed = cohort().select(["y", "label", "slide_id"]).append_column("extra", pa.array(range(42)))
    assert conform(mixed).schema == pa.schema([("slide_id", pa.string()), ("label", pa.string()), ("y", pa.int64())])


def test_digest_is_of_values_not_of_buffers():
    table = conform(cohort())
    pieces = pa.concat_tables([table.slice(0, 10), table.slice(10)])
    assert digest(pieces) == digest(table)
    assert digest(pa.concat_tables([table, table]).slice(42)) == digest(table)


def test_the_digest_distinguishes_values_nulls_and_borders():
    def one(values, type_):
        return digest(pa.table({"a": pa.array(values, type_)}))

    assert len({one(["ab", "c"], pa.string()), one(["a", "bc"], pa.string()), one(["abc"], pa.string())}) == 3
    assert one(["", "a"], pa.string()) != one([None, "a"], pa.string())
    assert one([0, 1], pa.int64()) != one([None, 1], pa.int64())
    assert one([0.5], pa.float32()) != one([0.25], pa.float32())
    assert one([], pa.string()) == one([], pa.string())
