"""`het_conv2d` on NVIDIA GPUs, in Triton; experimental: nothing here has run on a GPU yet.

Triton is imported at the first call on a GPU.
"""
