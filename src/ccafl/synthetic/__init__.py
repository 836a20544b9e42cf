"""The synthetic multi-camera world: persons, cameras, their images, and the folder they are written to."""
