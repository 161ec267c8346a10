"""How is a model asked? By `provider.ModelsProvider`, whose libraries load with the first ask."""
