"""A trained network adapted from start to end: planned, refitted, distilled, deployed; each step kept in a folder."""
