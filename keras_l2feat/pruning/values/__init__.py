"""What channels are worth: which are multiples of each other, combinations, constants; between
which bounds."""
