"""Selection: objectives, processors, fronts, recommendation, queries, runs."""
