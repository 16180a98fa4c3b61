"""The recipe, which describes a run: its sections, reading it from YAML, and writing a commented one."""
