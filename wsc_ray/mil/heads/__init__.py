"""MIL heads, one file each; `wsc_ray.mil.head` and docs/add-a-head.md describe the parts of a head."""
