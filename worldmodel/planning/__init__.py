"""Planning in a world model, or in MuJoCo: candidate actions, their futures, costs, and a loop that acts.

Everything is imported where it lives; ``worldmodel.planning.search`` is the loop to begin with.
"""
