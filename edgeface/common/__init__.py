"""What every floor above may use: files, console, machine, TOML, web server, read-ahead."""
