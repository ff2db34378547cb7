"""Recognition on data sets: split files, score files, and the numbers that were published."""
