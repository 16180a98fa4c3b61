"""MIL heads, a file each: see `wsc_ray.mil.head` for what one consists of, and docs/add-a-head.md."""
