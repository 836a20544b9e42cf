"""The HTTP service of a gallery, and the page that uses it."""
