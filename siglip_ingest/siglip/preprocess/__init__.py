"""From the bytes of an image file to the array that the model takes. Imports no torch."""
