"""The contracts that travel with a model: specs, passports, recipes, precision."""
