"""The chosen head on slides that nothing was chosen with: metrics, intervals over patients, attention."""
