"""Bringing clusters up and taking them down: cluster files, Ray's launcher, KubeRay, tunnels."""
