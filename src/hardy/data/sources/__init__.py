"""One kind of data, one file: what --data can name."""
