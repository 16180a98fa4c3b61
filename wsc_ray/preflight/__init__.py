"""What is looked at on every node of a cluster before a command starts, and the verdicts."""
