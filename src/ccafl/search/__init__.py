"""The former place of `ccafl.encoders`, kept for programs that import from it."""
