"""A trained program to ONNX, with proof, and the variant for OpenCV's DNN module."""
