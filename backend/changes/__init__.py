"""Changes: requests to make a plan true, their review, votes and course."""
