"""From an image to faces with attributes: detector, attribute estimator, results and their drawing."""
