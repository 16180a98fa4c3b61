"""Bringing a cluster up and taking it down: cluster files, Ray's launcher, KubeRay, tunnels."""
