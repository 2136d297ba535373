"""Where results go: files, pages, brokers, streams; ``open`` chooses by URI."""
