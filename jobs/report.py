"""What `wsc-ray report --address` or `--cluster` submits: the preflight on the cluster, then the call in `call.json`."""

from wsc_ray.entry import main

if __name__ == "__main__":
    main()
