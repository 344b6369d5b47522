"""A captured network in 8 bits: ranges from calibration images, weights by filter, everything as one native call."""
