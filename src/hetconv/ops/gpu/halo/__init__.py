"""The same product in CUDA C++ for compute capability 9.0, its input kept in shared memory for all taps."""
