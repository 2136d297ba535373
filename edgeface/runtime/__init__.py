"""One file per runtime behind one ``Backend`` protocol; ``open`` chooses by suffix."""
