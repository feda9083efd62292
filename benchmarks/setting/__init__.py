"""What the benchmarks share: models, data, sides that take steps, timing, and the file of results."""
