"""Memory settings of processes that handle whole steps of pixels on a CPU."""

# Environment variables for such a process. By default glibc maps each array above 32 MB from the system and returns it afterwards, so
# that all its pages have to be faulted in again each time. See mallopt(3).
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 32)}
