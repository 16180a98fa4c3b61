"""How processes that handle whole steps of pixels on a CPU get their memory."""

# The environment of such a process. glibc otherwise maps an array of above 32 MB from the system and gives it back, each
# time, and each time all its pages have to be faulted in anew. See mallopt(3).
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 32)}
