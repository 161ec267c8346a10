"""How is a coding task planned?

The embedded planner, the model planner, their tools and context. It proposes actions and performs none.
"""
