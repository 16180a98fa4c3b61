"""The demo's data: a drawn cohort whose only clue is the shape of nuclei (`tissue` draws a patch, `cohort` a table)."""
