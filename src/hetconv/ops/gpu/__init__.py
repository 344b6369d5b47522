"""`het_conv2d` on NVIDIA GPUs, in Triton and CUDA C++. Triton is imported at the first call on a GPU."""
