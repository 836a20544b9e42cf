"""Files of people of plain colours, and a gallery of them (`colour_people`)."""

from colour_people import encoder, gallery, people

__all__ = ["encoder", "gallery", "people"]
