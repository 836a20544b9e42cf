"""People say which tracks of a camera are one person."""
