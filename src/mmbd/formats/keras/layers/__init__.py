"""The layers of Keras, a family a file; `table` has a row for every class."""
