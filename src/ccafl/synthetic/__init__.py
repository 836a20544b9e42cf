"""The synthetic multi-camera world: persons, cameras, their images, and the folder that they are written to."""
