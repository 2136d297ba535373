"""Where frames come from: files, cameras, network streams; ``open`` chooses by URI."""
