"""The one description of a run: its sections, reading it from YAML, and writing it commented."""
