"""How fast the work around the backbone is: `python -m benchmarks --help`."""
