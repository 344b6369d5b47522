"""One file for each runtime; what is in them is said in `hetconv.lab.bench.registry`."""
