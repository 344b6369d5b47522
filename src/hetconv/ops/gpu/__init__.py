"""`het_conv2d` on NVIDIA GPUs, in Triton. Only `kernels/` imports Triton, and only at the first call on a GPU."""
