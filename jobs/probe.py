"""The script that `wsc-ray probe --address` or `--cluster` submits: it runs the preflight on the cluster, then the call in `call.json`."""

from wsc_ray.entry import main

if __name__ == "__main__":
    main()
