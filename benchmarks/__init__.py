"""Speed and memory of everything around the backbone: `python -m benchmarks --help`."""
