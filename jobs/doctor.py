"""What `wsc-ray doctor --address` submits: the preflight alone, its results as JSON in the log's last line."""

from wsc_ray.entry import doctor, main

if __name__ == "__main__":
    main(doctor)
