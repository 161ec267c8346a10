"""How is a patch made and proven?

Locate, candidates, recipes, validation; pure functions plus workers that run inside the wall.
"""
