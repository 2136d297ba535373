"""Tables of the documents, generated from results files."""
