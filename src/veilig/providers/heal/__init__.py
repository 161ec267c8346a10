"""How are services seen and healed? Substrates (who keeps a service), signals, and the broker that acts."""
