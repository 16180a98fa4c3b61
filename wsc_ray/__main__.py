"""`python -m wsc_ray`: the command line, where its script is not on the path."""

from wsc_ray.cli import main

main()
