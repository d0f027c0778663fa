"""A synthetic city: its people and things, the errors planted in them, and the real servers that deliver them."""
