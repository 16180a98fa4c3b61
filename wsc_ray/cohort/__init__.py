"""The cohort, `slides.parquet`: a table of slides with patients, labels, splits and sites, apart from the patches."""

from wsc_ray.cohort.choose import Chosen, choose_slides
from wsc_ray.cohort.cohort import Cohort
from wsc_ray.cohort.store import COHORT_FILE, read_cohort, write_cohort

__all__ = ["COHORT_FILE", "Chosen", "Cohort", "choose_slides", "read_cohort", "write_cohort"]
