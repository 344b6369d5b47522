"""The Triton kernels themselves. Importing this imports Triton: only launchers do, at the first call."""
