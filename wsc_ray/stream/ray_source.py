"""A Ray Data source whose read tasks are calls of one function, which reads a window of batches or a row group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata
from ray.data.extensions import ArrowTensorArray

from wsc_ray.ray_memory import KEEP_MEMORY

Batch = dict[str, np.ndarray]
Read = Callable[[int], Iterator[Batch]]


def read_calls(
    read: Read, count: int, *, num_cpus: float = 1.0, concurrency: int | None = None, node: str | None = None
) -> ray.data.Dataset:
    """Return a data set of the batches that `read(0)`, ..., `read(count - 1)` yield, each call in a task of its own.

    This is a source and not `range(n).map_batches(read)`, which has two operators: tasks of the first could wait for
    CPUs that paused tasks of the second hold.

    Args:
        read: yields batches, column -> (n, ...) array; sent to the cluster once.
        num_cpus: CPUs that a call takes.
        concurrency: most calls at a time.
        node: id of the node that calls run on; None: any.
    """
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # a command shows its own
    context.print_on_execution_start = False
    source = _Calls(ray.put(read), count)
    return ray.data.read_datasource(
        source,
        override_num_blocks=count,
        num_cpus=num_cpus,
        runtime_env={"env_vars": KEEP_MEMORY},
        label_selector=None if node is None else {"ray.io/node-id": node},
        concurrency=concurrency,
    )


class _Calls(Datasource):
    def __init__(self, read: ray.ObjectRef[Read], count: int):
        super().__init__()
        self.read, self.count = read, count

    def get_name(self) -> str:
        return "Patches"

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: ray.data.DataContext | None = None
    ) -> list[ReadTask]:
        unknown = BlockMetadata(num_rows=None, size_bytes=None, exec_stats=None, input_files=None)
        return [ReadTask(partial(_call, self.read, number), unknown) for number in range(self.count)]


def _call(read: ray.ObjectRef[Read], number: int) -> Iterator[pa.Table]:
    for batch in ray.get(read)(number):
        yield pa.table({name: _column(values) for name, values in batch.items()})


def _column(values: np.ndarray) -> pa.Array:
    return ArrowTensorArray.from_numpy(values) if values.ndim > 1 else pa.array(values)
