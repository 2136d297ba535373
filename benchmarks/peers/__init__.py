"""Other runtimes, networks, detectors and toolkits, each opened by one function that may say why it cannot."""
