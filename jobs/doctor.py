"""The script that `wsc-ray doctor --address` submits: it runs the preflight alone, and prints its results as JSON in the last line of the log."""

from wsc_ray.entry import doctor, main

if __name__ == "__main__":
    main(doctor)
