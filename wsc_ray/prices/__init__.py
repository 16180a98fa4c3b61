"""What the machines of a cluster file cost, from a dated list of prices."""
