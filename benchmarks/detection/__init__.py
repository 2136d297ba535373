"""How well faces are found: in the street, at any roll angle, in large photographs."""
